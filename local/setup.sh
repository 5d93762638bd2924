#!/usr/bin/env bash
# Install the hash-locked requirements and this project into .venv; does nothing if that is complete. An environment that
# this script has not made is never changed.
# Usage: local/setup.sh          (PYTHON=/path/to/python3.11 selects the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."

complete=.venv/.complete
made=.venv/.made-by-setup      # the place where this script made .venv
# The settings of linters and tests, from [tool.ruff] on, do not change the environment.
wanted=$(sed '/^\[tool\.ruff\]/,$d' requirements/uv.txt requirements/lock.txt pyproject.toml | sha256sum | cut -d' ' -f1)

say() { echo "environment: $*"; }
fail() { echo "environment: $*" >&2; exit 1; }

# These variables would install elsewhere, import other packages, or demand hashes of this project itself.
unset PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES UV_REQUIRE_HASHES PYTHONPATH PYTHONHOME
export PIP_USER=0

# Print the locked packages that are absent or have lost files.
damaged() { .venv/bin/python -m augmem.installation requirements/lock.txt; }

# Whether .venv was made elsewhere: its programs contain that path.
moved() { [[ -f $made && $(<"$made") != $(realpath .venv) ]]; }

leave_if_complete() {
  [[ -f $complete && $(<"$complete") == "$wanted" ]] && ! moved && repair=$(damaged) && [[ -z $repair ]] || return 0
  say "up to date (.venv)"
  exit 0
}

repair=
leave_if_complete

[[ ! -e .venv || -f $complete || -f $made ]] || fail ".venv was not made by this script, which therefore leaves it as it is. \
Use it by ./run.sh --python .venv/bin/python, or remove it (rm -r .venv) to install the locked packages"

python=${PYTHON:-python3.11}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
  fail "$python not found. On Debian or Ubuntu: apt-get install python3.11 python3.11-venv libpython3.11. Elsewhere uv \
brings it: pip install uv; uv python install 3.11; then PYTHON=\$(uv python find 3.11) ./run.sh"
[[ $version == 3.11 ]] ||
  fail "$python is CPython $version; the lock file is for 3.11. Set PYTHON to one, or use an environment of your own: \
./run.sh --python PATH"
[[ $(uname -sm) == "Linux x86_64" ]] || fail "the locked k2 and torch wheels are for Linux on x86-64; this is $(uname -sm). The README describes how to install others"
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
(( free > 6000000 )) || fail "needs 6 GB of free disk space; $((free / 1000000)) GB are free"

exec 9>.venv.lock
flock -n 9 || { say "waiting for another set-up"; flock 9; leave_if_complete; }

if moved; then
  say ".venv was made as $(<"$made"); making it again"
  rm -r .venv
fi
[[ -z $repair ]] || say "to repair: $(echo $repair)"
say "installing into .venv (about 2 GB to download, 4 GB on disk, a few minutes)"
started=$SECONDS
if [[ ! -x .venv/bin/python ]]; then
  "$python" -m venv .venv 2>&1 || fail "$python cannot create virtual environments. On Debian or Ubuntu: apt-get install python3.11-venv"
fi
realpath .venv >"$made"
rm -f "$complete"
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
# uv does not read the configuration of pip; without an index of its own it gets that of pip.
if [[ -z ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_CONFIG_FILE:-} ]]; then
  index=$(pip config list | sed -n "s/^\(:env:\|install\|global\)\.index-url='\(.*\)'$/\2/p" | head -1)
  [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
fi
cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/uv}
mkdir -p "$cache" 2>/dev/null && [[ -w $cache ]] || { say "no cache: $cache cannot be written"; export UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1; }

say "1/3 the installer"
pip install --quiet --require-hashes -r requirements/uv.txt
say "2/3 $(grep -c '==' requirements/lock.txt) locked packages, including torch and k2"
# Compiled here once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, each start would compile torch again.
.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python --require-hashes -r requirements/lock.txt \
  ${repair:+$(printf -- '--reinstall-package %s ' $repair)}
say "3/3 this project"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
.venv/bin/python -m compileall -q augmem
.venv/bin/python -c 'import k2' 2>/dev/null ||
  fail "k2 cannot be imported, usually because libpython3.11.so is missing: apt-get install libpython3.11, then run this again"
.venv/bin/python -c 'from augmem.decoding.kernels import compile_kernels; compile_kernels()'
echo "$wanted" >"$complete"
say "ready in $((SECONDS - started)) s"
