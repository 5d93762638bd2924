#!/usr/bin/env bash
# Build the documentation into site/ with the locked packages of requirements/docs.txt, in an environment of its own.
# Warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_USER PYTHONPATH PYTHONHOME
export NO_MKDOCS_2_WARNING=1  # says that mkdocs-material has a successor

venv=.venv-docs
wanted=$(sha256sum <requirements/docs.txt | cut -d' ' -f1)
if [[ ! -f $venv/.complete || $(<"$venv/.complete") != "$wanted" ]]; then
  "${PYTHON:-python3.11}" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
  echo "$wanted" >"$venv/.complete"
fi
exec "$venv/bin/mkdocs" build --clean --strict --quiet
