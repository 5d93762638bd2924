#!/usr/bin/env bash
# From audio to a table of word error rates. Each stage says what it reads and writes, does nothing when that is
# already there, and may be killed at any moment: run the same command again to go on.
set -euo pipefail
cd "$(dirname "$0")"
{ # bash reads a script as it runs it; the braces make it read all of it first, so that it may change meanwhile

# ---- options: ./run.sh --name value ---------------------------------------------------------------------------------
stage=0              # first stage to run, by number or name
stop_stage=9         # last stage to run, by number or name
config=conf/mini.yaml
corpus=amazon_queen  # recipe: amazon_queen, librispeech, kaldi, folder, manifests or shar
corpus_dir=          # the corpus on disk, if it is there
train=               # parts of the corpus, comma separated; empty: the recipe's own choice
dev=
test=
data=                # audio, manifests, features; empty: data/<corpus>
exp=                 # everything else; empty: exp/<corpus>-<config>
nj=$(nproc)          # worker processes for features and decoding
scheduler=           # of Dask, tcp://HOST:PORT: features and decoding on its workers
processes=1          # processes that train together, one a GPU
max_minutes=         # training stops after that many minutes, to go on at the next run
dry_run=false        # all stages, but one training step
overrides=()         # --training.epochs 3 and the like

stages=(environment corpus features lang lm graphs train decode score report)

usage() {
  cat <<EOF
Usage: ./run.sh [options]          with none: train and test on four hours of real speech, about half an hour on 2 cores

Stages (number or name):
  0 environment  .venv from the hash-locked requirements
  1 corpus       audio and transcripts to Lhotse manifests
  2 features     80-dim log-mel on disk
  3 lang         lexicon, guessed pronunciations, tokens, L
  4 lm           n-gram language models, perplexity on dev
  5 graphs       H, phone LM P for the denominator, HLG
  6 train        augmented-memory transformer: CTC, then lattice-free MMI
  7 decode       lattices and n-best lists; scales tuned on dev
  8 score        word error rates with intervals
  9 report       one HTML page

Options (default):
  --stage N            first stage to run ($stage)
  --stop-stage N       last stage to run ($stop_stage)
  --config FILE        the recipe ($config); any recipe runs on any corpus
  --corpus NAME        amazon_queen, librispeech, kaldi (data directories), folder (audio and a table), manifests
                       (Lhotse's) or shar (Lhotse Shar with audio) ($corpus)
  --corpus-dir PATH    the corpus on disk: a folder, or the Amazon Queen .deb (none: download it)
  --train PARTS        parts to train on, comma separated (amazon_queen: full; or digest, its hero alone)
  --dev PARTS          parts to tune on (amazon_queen: dev_joe,dev_cast; none in the corpus: split off whole speakers)
  --test PARTS         parts to test on (amazon_queen: test_joe,test_cast)
  --data DIR           where audio, manifests and features go (data/<corpus>)
  --exp DIR            where the experiment goes (exp/<corpus>-<config>)
  --nj N               worker processes ($nj)
  --scheduler ADDRESS  Dask's, tcp://HOST:PORT: features and decoding on its workers, on any machines, not on N here
  --processes N        processes that train together, by torchrun: one a GPU, or one a core ($processes)
  --resume             go on with a training that was stopped; this is the default
  --max-minutes N      stop training after N minutes, to go on at the next run (none: train to the end)
  --dry-run            run every stage, but train for one step on ten seconds only, in <exp>-dry
  --help               this text
  --SECTION.FIELD V    any field of the recipe, as in --training.epochs 3; all fields: .venv/bin/augmem recipe --help
EOF
}

fail() { echo "run.sh: $*" >&2; exit 2; }

while (( $# )); do
  case $1 in
    --help|-h) usage; exit 0 ;;
    --resume) shift ;;
    --dry-run) dry_run=true; shift ;;
    --*.*) (( $# > 1 )) || fail "$1 wants a value"; overrides+=("$1" "$2"); shift 2 ;;
    --stage|--stop-stage|--config|--corpus|--corpus-dir|--train|--dev|--test|--data|--exp|--nj|--scheduler|--processes|\
    --max-minutes)
      (( $# > 1 )) || fail "$1 wants a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2 ;;
    *) fail "unknown option $1 (./run.sh --help lists them)" ;;
  esac
done

# The number of a stage given by number or name.
number() {
  local i
  for i in "${!stages[@]}"; do
    if [[ $1 == "$i" || $1 == "${stages[i]}" ]]; then echo "$i"; return; fi
  done
  fail "no stage '$1'; stages are 0 to $(( ${#stages[@]} - 1 )), or: ${stages[*]}"
}
stage=$(number "$stage")
stop_stage=$(number "$stop_stage")
[[ -f $config ]] || fail "no recipe $config; there are: $(ls conf/*.yaml | tr '\n' ' ')"

data=${data:-data/$corpus}
name=$(basename "$config" .yaml)
exp=${exp:-exp/$corpus-$name}
if $dry_run; then
  exp=${exp%/}-dry
  overrides+=(--training.max_steps 1 --training.batches.max_duration 10)
fi

wanted() { (( stage <= $1 && $1 <= stop_stage )); }
say() { printf '\n== %s %s: %s\n' "$1" "${stages[$1]}" "$2"; }
augmem() { .venv/bin/augmem "$@"; }
# Processes that train one model; when one dies, all are started again from the newest checkpoint.
team() {
  .venv/bin/python -m augmem.training.launch --rdzv_backend c10d --rdzv_endpoint localhost:0 \
    --nproc_per_node "$1" --max_restarts 3 -m augmem.cli "${@:2}"
  [[ -e $exp/train/.done ]] || exit 3  # the time was up
}
parts() { [[ -z $2 ]] || printf '%s\n' "--corpus.$1" "[$2]"; }

if wanted 0; then
  say 0 "Python environment in .venv"
  local/setup.sh
fi

if (( stop_stage > 0 )); then
  [[ -x .venv/bin/augmem ]] || fail "no augmem in .venv: begin with stage 0, environment, or install it there"
  mapfile -t chosen < <(parts train "$train"; parts dev "$dev"; parts test "$test")
  [[ -z $corpus_dir ]] || chosen+=(--corpus.source "$corpus_dir")
  augmem recipe --exp "$exp" --processes "$processes" --config "$config" --corpus.recipe "$corpus" --data "$data" "${chosen[@]}" "${overrides[@]}"
fi

if wanted 1; then
  say 1 "audio and transcripts to Lhotse manifests"
  augmem corpus --exp "$exp"
fi

if wanted 2; then
  say 2 "log-mel features on disk"
  augmem features --exp "$exp" --nj "$nj" ${scheduler:+--scheduler "$scheduler"}
fi

if wanted 3; then
  say 3 "lexicon, tokens and words"
  augmem lang --exp "$exp"
fi

if wanted 4; then
  say 4 "n-gram language models"
  augmem lm --exp "$exp"
fi

if wanted 5; then
  say 5 "topology, phone LM and decoding graph"
  augmem graphs --exp "$exp"
fi

if wanted 6; then
  say 6 "acoustic model: CTC, then lattice-free MMI"
  training=(train --exp "$exp" ${max_minutes:+--max-minutes "$max_minutes"})
  if (( processes == 1 )); then
    augmem "${training[@]}"
  else
    team "$processes" "${training[@]}"
  fi
fi

if wanted 7; then
  say 7 "lattices, n-best lists, scales tuned on dev"
  augmem decode --exp "$exp" --nj "$nj" ${scheduler:+--scheduler "$scheduler"}
fi

if wanted 8; then
  say 8 "word error rates"
  augmem score --exp "$exp"
fi

if wanted 9; then
  say 9 "one page that shows it all"
  augmem report --exp "$exp"
fi
exit
}
