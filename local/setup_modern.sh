#!/usr/bin/env bash
# Install the newest releases of all packages, without k2, into .venv-modern: the second environment of .ci/run.
# Usage: local/setup_modern.sh          (PYTHON=/path/to/python3.11 selects the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_USER PYTHONPATH PYTHONHOME  # they would install elsewhere, or import other packages

venv=.venv-modern
wanted=$(cat requirements/modern*.txt | sha256sum | cut -d' ' -f1)
if [[ -f $venv/.complete && $(<"$venv/.complete") == "$wanted" ]]; then
  echo "modern environment: up to date ($venv)"
  exit 0
fi

started=$SECONDS
"${PYTHON:-python3.11}" -m venv --clear "$venv"
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"; }
echo "modern environment: installing $(grep -c '==' requirements/modern.txt) locked packages into $venv"
install --require-hashes -r requirements/modern.txt
echo "modern environment: installing torch for the CPU"
install --require-hashes -r requirements/modern-cpu.txt 2>/dev/null || {
  echo "modern environment: not found where pip looks, so torch with CUDA libraries (3 GB) instead"
  install --require-hashes -r requirements/modern-cuda.txt
}
install --no-build-isolation -e .
"$venv/bin/python" -c 'import torch, lhotse'
echo "$wanted" >"$venv/.complete"
echo "modern environment: ready in $((SECONDS - started)) s"
