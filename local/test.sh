#!/usr/bin/env bash
# Install the environment and run the tests in one process per core, at most four. Tests of a file run in one process,
# because they share fixtures. Options are passed to pytest, as in: local/test.sh tests/encoder -x
set -euo pipefail
cd "$(dirname "$0")/.."
local/setup.sh
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder "$@"
