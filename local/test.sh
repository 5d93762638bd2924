#!/usr/bin/env bash
# Sets up the environment and runs the tests, one process a core, each file's tests in one of them (they share what is
# costly to make); options go to pytest, as in: local/test.sh tests/encoder -x
set -euo pipefail
cd "$(dirname "$0")/.."
local/setup.sh
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder "$@"
