#!/usr/bin/env bash
# Makes lock.txt from requirements.in. Run it after a change there, then `local/setup.sh` and the tests.
set -euo pipefail
cd "$(dirname "$0")"
uv=../.venv/bin/uv

"$uv" pip compile --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
  --quiet requirements.in -o lock.txt

# All of k2's Linux wheels carry a tag that reads as plain "py3", so an installer may take the one for another Python.
# With only the hash of the CPython 3.11 wheel in the lock it takes the right one.
sed -i -e '/^k2==/,/^[^ ]/{/^    --hash/d}' \
  -e 's|^k2==1.23.4 .*|k2==1.23.4 \\\n    --hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4|' lock.txt
grep -A1 '^k2==' lock.txt
