#!/usr/bin/env bash
# Test the newest releases of all packages, without k2: run the tests that need no k2, then train from an experiment whose
# graphs the first environment has made.
set -euo pipefail
cd "$(dirname "$0")/.."
local/setup_modern.sh
modern=.venv-modern/bin/python

# Tests that need k2 are skipped and counted (conftest.py); those of tests/shell run programs that need it.
"$modern" -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder --ignore tests/shell -rs

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
part=train-fixture
.venv/bin/python - "$work/LibriSpeech" <<EOP
import sys
from pathlib import Path
from tests.corpus.corpora import build_librispeech_tree
build_librispeech_tree(Path("tests/fixtures/speech"), Path(sys.argv[1]), part="$part")
EOP
options=(--corpus librispeech --corpus-dir "$work/LibriSpeech" --train "$part" --dev "$part" --test "$part"
  --corpus.allow_overlap true --config conf/fixture.yaml --data "$work/data" --exp "$work/exp" --nj 1 --dry-run)
./run.sh --stage corpus --stop-stage graphs "${options[@]}"
if "$modern" -c 'import k2' 2>/dev/null; then
  echo "test_modern.sh: .venv-modern has k2; remove it (rm -r .venv-modern) and run this again" >&2
  exit 1
fi
./run.sh --python "$modern" --stage train --stop-stage train "${options[@]}"
