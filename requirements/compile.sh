#!/usr/bin/env bash
# Resolve requirements.in into lock.txt, modern.in into modern.txt and modern-cuda.txt, and docs.in into docs.txt. After a
# change of one of them run this, local/setup.sh, local/setup_modern.sh and the tests.
set -euo pipefail
cd "$(dirname "$0")"

compile() {
  ../.venv/bin/uv pip compile --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
    --quiet "$1" -o "$2"
}

compile requirements.in lock.txt
# All Linux wheels of k2 have the tag "py3", so an installer may select one for another Python version. The lock file has
# the hash of the wheel for CPython 3.11 only.
sed -i -e '/^k2==/,/^[^ ]/{/^    --hash/d}' \
  -e 's|^k2==1.23.4 .*|k2==1.23.4 \\\n    --hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4|' lock.txt
grep -A1 '^k2==' lock.txt

compile docs.in docs.txt
compile modern.in modern.txt
# torch from the package index needs CUDA libraries; its build for the CPU (modern-cpu.txt) does not.
awk -v cuda=modern-cuda.txt '/^[^ ]/ { out = /^(torch|nvidia|cuda|triton)/ ? cuda : "/dev/stdout" } { print > out }' \
  modern.txt >modern.part
mv modern.part modern.txt
grep '^torch==' modern-cuda.txt modern-cpu.txt
