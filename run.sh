#!/usr/bin/env bash
# Train and evaluate a model: from audio to a table of word error rates. Each stage logs its inputs and outputs, is skipped
# if its results are up to date, and can be killed at any time: run the same command again to resume.
set -euo pipefail
caller=$PWD  # relative paths are sought there, then here
cd "$(dirname "$0")"
{ # bash reads a script while running it; with the braces it reads the whole file first, so that edits have no effect on it

# ---- options: ./run.sh --name value ---------------------------------------------------------------------------------
stage=0              # first stage to run, by number or name
stop_stage=9         # last stage to run, by number or name
corpus=              # librispeech (default), amazon_queen, kaldi, folder, manifests or shar
corpus_dir=          # path of the corpus; empty: the carried LibriSpeech parts, or a download
config=              # recipe; empty: chosen by corpus
train=               # parts of the corpus, comma separated; empty: default of the corpus
dev=
test=
init_from=           # experiment or package whose weights, units and encoder training starts from (fine-tuning)
mix_with=            # data folder of another corpus whose training parts are added, as in data/librispeech
data=                # audio, manifests and features; empty: data/<corpus>
exp=                 # all other results; empty: exp/<config>, or exp/<corpus>-<config>
nj=                  # worker processes for features, graphs and decoding; empty: one per core
scheduler=           # Dask scheduler, tcp://HOST:PORT; empty: worker processes on this machine
processes=           # training processes; empty: one per GPU, or per core without one, that can share a step
max_minutes=         # stop training after this time; empty: train to the end
dry_run=false        # run all stages with a single training step
python=              # interpreter of your own environment, used as it is; empty: the active one, or .venv
overrides=()         # options of the recipe, as in --training.epochs 3

stages=(environment corpus features lang lm graphs train decode score report)

usage() {
  cat <<EOF
Usage: ./run.sh [options]

Without options: train on 5.3 hours of LibriSpeech (train-clean-5), tune on dev-held, report on test-held.

Stages (number or name):
  0 environment  install the locked packages into .venv
  1 corpus       convert audio and transcripts to Lhotse manifests
  2 features     compute 80-dim log-mel features
  3 lang         make lexicon, tokens and words
  4 lm           make n-gram language models, compute perplexity on dev
  5 graphs       make topology H, phone LM P and decoding graph HLG
  6 train        train the acoustic model: CTC, then lattice-free MMI
  7 decode       make lattices and n-best lists, tune scales on dev
  8 score        compute word error rates with confidence intervals
  9 report       write an HTML report

Options (default):
  --stage N            first stage to run ($stage)
  --stop-stage N       last stage to run ($stop_stage)
  --corpus NAME        librispeech, amazon_queen, kaldi (data directories), folder (audio files and a table),
                       manifests (Lhotse manifests) or shar (Lhotse Shar with audio) (librispeech)
  --corpus-dir PATH    the corpus on disk: a LibriSpeech tree, your own data, or the .deb package of Amazon Queen
                       (librispeech: the carried parts; amazon_queen: download)
  --config FILE        recipe (librispeech: conf/mini_librispeech.yaml; amazon_queen: conf/amazon_queen.yaml;
                       others: conf/own_data.yaml; if the experiment exists: its own recipe.yaml); every recipe works
                       with every corpus
  --train PARTS        parts to train on, comma separated (librispeech: train-clean-5; amazon_queen: full)
  --dev PARTS          parts to tune on (librispeech: dev-held; amazon_queen: dev_joe,dev_cast; your own data: dev* or
                       valid*, else speakers held out of training)
  --test PARTS         parts to report on (librispeech: test-held; amazon_queen: test_joe,test_cast; your own data: test*)
  --init-from MODEL    fine-tune: start from the weights of an experiment or a package, with its units and encoder
                       (recipe: conf/fine_tuning.yaml)
  --mix-with DATA      add the training parts of another corpus, given by its data folder (data/librispeech)
  --data DIR           folder for audio, manifests and features (data/<corpus>)
  --exp DIR            folder for the experiment (exp/<config>, or exp/<corpus>-<config> if the recipe is not named
                       after the corpus)
  --nj N               worker processes for features, graphs and decoding (one per core)
  --scheduler ADDRESS  Dask scheduler, tcp://HOST:PORT, whose workers replace those of --nj
  --processes N        training processes; must divide training.accumulate (one per GPU, or per core without one)
  --resume             resume an interrupted training (always on)
  --max-minutes N      stop training after N minutes; the next run resumes it (no limit)
  --dry-run            run all stages with a single training step on ten seconds of audio, in <exp>-dry
  --python PATH        Python of your own environment, used as it is: stage 0 checks it and installs nothing (the active
                       virtual environment; without one, .venv made by local/setup.sh)
  --help               print this text
  --SECTION.FIELD V    any option of the recipe, as in --training.epochs 3; list: .venv/bin/augmem recipe --help
EOF
}

fail() { echo "run.sh: $*" >&2; exit 2; }

while (( $# )); do
  case $1 in
    --help|-h) usage; exit 0 ;;
    --resume) shift ;;
    --dry-run) dry_run=true; shift ;;
    --*.*) (( $# > 1 )) || fail "$1 needs a value"; overrides+=("$1" "$2"); shift 2 ;;
    --stage|--stop-stage|--config|--corpus|--corpus-dir|--train|--dev|--test|--init-from|--mix-with|--data|--exp|--nj|--scheduler|--processes|\
    --max-minutes|--python)
      (( $# > 1 )) || fail "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2 ;;
    *) fail "unknown option $1 (./run.sh --help lists all options)" ;;
  esac
done

# Print the number of a stage given by number or name.
stage_number() {
  local i
  for i in "${!stages[@]}"; do
    if [[ $1 == "$i" || $1 == "${stages[i]}" ]]; then echo "$i"; return; fi
  done
  fail "no stage '$1'; use 0 to $(( ${#stages[@]} - 1 )), or a name: ${stages[*]}"
}
stage=$(stage_number "$stage")
stop_stage=$(stage_number "$stop_stage")

# Print a path relative to this folder: one that exists in the folder of the caller, else one that exists here, else a new
# one in the folder of the caller.
place() {
  if [[ $1 == /* || $caller == "$PWD" || ( ! -e $caller/$1 && -e $1 ) ]]; then echo "$1"; else echo "$caller/$1"; fi
}

default_config() {
  if [[ -n $init_from ]]; then echo conf/fine_tuning.yaml; return; fi
  case ${corpus:-librispeech} in
    librispeech) echo conf/mini_librispeech.yaml ;;
    amazon_queen) echo conf/amazon_queen.yaml ;;
    *) echo conf/own_data.yaml ;;
  esac
}
[[ $config != conf/mini.yaml ]] || fail "conf/mini.yaml is now conf/mini_librispeech.yaml, conf/amazon_queen.yaml or \
conf/own_data.yaml; without --config, run.sh uses the one for --corpus ${corpus:-librispeech}"
if [[ -n $config ]]; then recipe=$(place "$config"); else recipe=$(default_config); fi
[[ -f $recipe ]] || fail "no recipe $config; choose one of: $(echo conf/*.yaml)"

if [[ -n $exp ]]; then
  exp=$(place "${exp%/}")
else
  exp=$(basename "$recipe" .yaml)
  [[ $exp == *"${corpus:-librispeech}"* ]] || exp=${corpus:-librispeech}-$exp
  exp=exp/$exp
fi
if $dry_run; then
  exp=$exp-dry
  overrides+=(--training.max_steps 1 --training.batches.max_duration 10)
fi

# The environment: given, active, or .venv. Only local/setup.sh installs, and only into the .venv that it made.
[[ $python != */* ]] || python=$(place "$python")
if [[ -n $python ]]; then
  python=$(command -v -- "$python") || fail "--python: no program of this name or path"
elif [[ -n ${VIRTUAL_ENV:-} && ! $VIRTUAL_ENV -ef .venv ]]; then
  python=$VIRTUAL_ENV/bin/python
  [[ -x $python ]] || fail "the active virtual environment has no $python; run deactivate, or activate it again"
elif [[ -x .venv/bin/python && ! -e .venv/.made-by-setup && ! -e .venv/.complete ]]; then
  python=.venv/bin/python
fi
[[ -z $python ]] || echo "using the environment of $python as it is; nothing is installed into it"
own=$python
python=${python:-.venv/bin/python}

selected() { (( stage <= $1 && $1 <= stop_stage )); }
title() { printf '\n== %s %s: %s\n' "$1" "${stages[$1]}" "$2"; }
augmem() { "$python" -m augmem.cli "$@"; }
# Print an option of parts as a list of quoted strings, since YAML reads 2024, on, no and null as other types.
parts() {
  local names=${2// /}
  [[ -z $names ]] || printf '%s\n' "--corpus.$1" "[\"${names//,/\",\"}\"]"
}

if selected 0; then
  title 0 "Python environment"
  if [[ -z $own ]]; then
    local/setup.sh
  else
    tasks=(prepare prepare prepare prepare prepare graphs train decode decode decode)
    "$python" -m augmem.doctor --task "${tasks[stop_stage]}" || fail "$python lacks what is listed above"
  fi
fi

if (( stop_stage > 0 )); then
  [[ -x $python ]] || fail "there is no $python: run stage 0 (environment) first"
  first=$(( stage > 1 ? stage : 1 ))
  names=${stages[*]:first:stop_stage - first + 1}
  # All stages use the options in this file, and hold its lock by the descriptor that they inherit.
  run=$(dirname "$exp")/.$(basename "$exp").run.yaml
  mkdir -p "$(dirname "$exp")"
  exec {lock}<>"$run"
  given=(--exp "$exp" --lock "$lock" --stages "${names// /,}" ${processes:+--processes "$processes"})
  if [[ -n $config || ! -e $exp/recipe.yaml ]]; then given+=(--config "$recipe"); fi
  if [[ -n $corpus || ! -e $exp/recipe.yaml ]]; then given+=(--corpus.recipe "${corpus:-librispeech}"); fi
  mapfile -t -O "${#given[@]}" given < <(parts train "$train"; parts dev "$dev"; parts test "$test")
  [[ -z $corpus_dir ]] || given+=(--corpus.source "$(place "$corpus_dir")")
  [[ -z $data ]] || given+=(--data "$(place "$data")")
  [[ -z $init_from ]] || given+=(--training.init_from "$(place "$init_from")")
  [[ -z $mix_with ]] || given+=(--corpus.mix "$(place "$mix_with")")
  [[ $caller == "$PWD" ]] || given+=(--folder "$caller")
  augmem recipe "${given[@]}" "${overrides[@]}"
  options=(--exp "$exp" --recipe "$run")
fi

if selected 1; then
  title 1 "audio and transcripts to Lhotse manifests"
  augmem corpus "${options[@]}"
fi

if selected 2; then
  title 2 "log-mel features"
  augmem features "${options[@]}" ${nj:+--nj "$nj"} ${scheduler:+--scheduler "$scheduler"}
fi

if selected 3; then
  title 3 "lexicon, tokens and words"
  augmem lang "${options[@]}"
fi

if selected 4; then
  title 4 "n-gram language models"
  augmem lm "${options[@]}"
fi

if selected 5; then
  title 5 "topology, phone LM and decoding graph"
  augmem graphs "${options[@]}" ${nj:+--nj "$nj"} ${scheduler:+--scheduler "$scheduler"}
fi

if selected 6; then
  title 6 "acoustic model: CTC, then lattice-free MMI"
  augmem train "${options[@]}" ${max_minutes:+--max-minutes "$max_minutes"} ${processes:+--processes "$processes"}
fi

if selected 7; then
  title 7 "lattices and n-best lists, scales tuned on dev"
  augmem decode "${options[@]}" ${nj:+--nj "$nj"} ${scheduler:+--scheduler "$scheduler"}
fi

if selected 8; then
  title 8 "word error rates"
  augmem score "${options[@]}"
fi

if selected 9; then
  title 9 "HTML report"
  augmem report "${options[@]}"
fi
exit
}
