#!/usr/bin/env bash
# Sets up the environment and runs the tests; options go to pytest, as in: local/test.sh tests/encoder -x
set -euo pipefail
cd "$(dirname "$0")/.."
local/setup.sh
exec .venv/bin/python -m pytest "$@"
