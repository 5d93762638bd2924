#!/usr/bin/env bash
# Make the model that comes with the package, from its recipe to the files in augmem/shipped/librispeech_5h: train, decode,
# export, measure. About an hour and a half on two cores. Stages that are up to date are skipped.
# Usage: local/make_shipped_model.sh [EXP]     (exp/librispeech_5h)
set -euo pipefail
cd "$(dirname "$0")/.."
exp=${1:-exp/librispeech_5h}

./run.sh --config conf/librispeech_5h.yaml --exp "$exp"
.venv/bin/python -m local.ship_model "$exp"
.venv/bin/python -m benchmarks.shipped_model --card
