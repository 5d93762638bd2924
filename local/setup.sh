#!/usr/bin/env bash
# Install the hash-locked requirements and this project into .venv; does nothing if that is complete.
# Usage: local/setup.sh          (PYTHON=/path/to/python3.11 selects the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."

complete=.venv/.complete
# The settings of linters and tests, from [tool.ruff] on, do not change the environment.
wanted=$(sed '/^\[tool\.ruff\]/,$d' requirements/uv.txt requirements/lock.txt pyproject.toml | sha256sum | cut -d' ' -f1)
leave_if_complete() {
  if [[ -f $complete && $(<"$complete") == "$wanted" ]]; then
    echo "environment: up to date (.venv)"
    exit 0
  fi
}
leave_if_complete

fail() { echo "environment: $*" >&2; exit 1; }

python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || fail "$python not found. On Debian or Ubuntu: apt-get install python3.11 python3.11-venv libpython3.11"
[[ $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') == 3.11 ]] ||
  fail "$python is not CPython 3.11, the version of the lock file; set PYTHON to one that is"
[[ $(uname -sm) == "Linux x86_64" ]] || fail "the locked k2 and torch wheels are for Linux on x86-64; this is $(uname -sm). The README describes how to install others"
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
(( free > 6000000 )) || fail "needs 6 GB of free disk space; $((free / 1000000)) GB are free"

exec 9>.venv.lock
flock -n 9 || { echo "environment: waiting for another set-up"; flock 9; leave_if_complete; }

echo "environment: installing into .venv (about 2 GB to download, 4 GB on disk, a few minutes)"
started=$SECONDS
if [[ ! -x .venv/bin/python ]]; then
  "$python" -m venv .venv 2>&1 || fail "$python cannot create virtual environments. On Debian or Ubuntu: apt-get install python3.11-venv"
fi
rm -f "$complete"
echo "environment: 1/3 the installer"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
echo "environment: 2/3 $(grep -c '==' requirements/lock.txt) locked packages, including torch and k2"
.venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements/lock.txt
echo "environment: 3/3 this project"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
.venv/bin/python -c 'import k2' 2>/dev/null ||
  fail "k2 cannot be imported, usually because libpython3.11.so is missing: apt-get install libpython3.11, then run this again"
echo "$wanted" >"$complete"
echo "environment: ready in $((SECONDS - started)) s"
