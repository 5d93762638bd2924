#!/usr/bin/env bash
# Resolve requirements.in into lock.txt. After a change of requirements.in run this, local/setup.sh and the tests.
set -euo pipefail
cd "$(dirname "$0")"
uv=../.venv/bin/uv

"$uv" pip compile --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
  --quiet requirements.in -o lock.txt

# All Linux wheels of k2 have the tag "py3", so an installer may select one for another Python version. The lock file has
# the hash of the wheel for CPython 3.11 only.
sed -i -e '/^k2==/,/^[^ ]/{/^    --hash/d}' \
  -e 's|^k2==1.23.4 .*|k2==1.23.4 \\\n    --hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4|' lock.txt
grep -A1 '^k2==' lock.txt
