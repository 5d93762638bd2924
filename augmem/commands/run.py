"""Run the stages of an experiment: from audio to a table of word error rates.

A stage is skipped if its results are up to date, and can be killed at any time: run the same command again to resume.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from augmem.errors import UserError
from augmem.run_lock import open_run, run_file

STAGES = {
    "environment": "check the Python environment",
    "corpus": "convert audio and transcripts to Lhotse manifests",
    "features": "compute log-mel features",
    "lang": "make lexicon, tokens and words",
    "lm": "make n-gram language models",
    "graphs": "make topology, phone LM and decoding graph",
    "train": "train the acoustic model, or resume training",
    "decode": "make lattices and n-best lists, tune scales on dev",
    "score": "compute word error rates with confidence intervals",
    "report": "write an HTML report",
}
NAMES = tuple(STAGES)
PARALLEL = ("features", "graphs", "decode")  # stages with worker processes
DOCTOR_TASKS = dict.fromkeys(NAMES[:5], "prepare") | {"graphs": "graphs", "train": "train"}
CORPORA = ("librispeech", "amazon_queen", "kaldi", "folder", "manifests", "shar")
LIBRISPEECH = "librispeech"
RECIPES = {"librispeech": "mini_librispeech", "amazon_queen": "amazon_queen"}  # others: own_data
CONF = Path(__file__).parents[1] / "conf"
DRY_RUN = ("--training.max_steps", "1", "--training.batches.max_duration", "10")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of run.sh."""
    stages = ", ".join(f"{number} {name}" for number, name in enumerate(NAMES))
    parser.epilog = f"Stages: {stages}. Options of the recipe, as in --training.epochs 3: augmem recipe --help"
    parser.add_argument("--stage", default="0", help="first stage to run, by number or name (%(default)s)")
    parser.add_argument("--stop-stage", default="9", help="last stage to run, by number or name (%(default)s)")
    parser.add_argument("--corpus", choices=CORPORA, help=f"kind of corpus ({LIBRISPEECH})")
    parser.add_argument("--corpus-dir", help="path of the corpus (the carried parts of LibriSpeech, or a download)")
    recipes = ", ".join(sorted(path.stem for path in CONF.glob("*.yaml")))
    text = "chosen by corpus; if the experiment exists: its own recipe.yaml"
    parser.add_argument("--config", help=f"recipe: a YAML file, or one of {recipes} ({text})")
    for use, purpose in (("train", "train on"), ("dev", "tune on"), ("test", "report on")):
        parser.add_argument(f"--{use}", metavar="PARTS", help=f"parts to {purpose}, separated by commas")
    parser.add_argument(
        "--init-from", metavar="MODEL", help="fine-tune: start from the weights of an experiment or package"
    )
    parser.add_argument(
        "--mix-with", metavar="DATA", help="add the training parts of another corpus (data/librispeech)"
    )
    parser.add_argument("--data", metavar="DIR", help="audio, manifests and features (data/<corpus>)")
    parser.add_argument("--exp", metavar="DIR", help="all other results (exp/<config>, or exp/<corpus>-<config>)")
    parser.add_argument("--nj", metavar="N", help="worker processes for features, graphs and decoding (one per core)")
    parser.add_argument("--scheduler", help="Dask scheduler, tcp://HOST:PORT, whose workers replace those of --nj")
    parser.add_argument("--processes", metavar="N", help="training processes (one per GPU, or per core without one)")
    parser.add_argument("--max-minutes", metavar="N", help="stop training after N minutes; the next run resumes it")
    parser.add_argument("--dry-run", action="store_true", help="one training step on ten seconds, in <exp>-dry")
    text = "option of the recipe; --SECTION.FIELD VALUE is the same"
    parser.add_argument("--option", action="append", metavar="SECTION.FIELD=VALUE", help=text)


def rewrite_options(words: Sequence[str]) -> list[str]:
    """Rewrite --SECTION.FIELD VALUE as --option SECTION.FIELD=VALUE.

    Example:
        >>> rewrite_options(["run", "--training.epochs", "3", "--lm.order=3", "--nj", "2"])
        ['run', '--option=training.epochs=3', '--option=lm.order=3', '--nj', '2']

    Raises:
        UserError: an option has no value.
    """
    written, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in name:
            written.append(word)
            continue
        if not equals and (value := next(rest, "")) == "":
            raise UserError(f"{word} needs a value")
        written.append(f"--option={name}={value}")
    return written


def run(arguments: argparse.Namespace) -> int:
    """Run the selected stages as processes; return the status of the first that fails, or 0.

    All stages use the options in the file of the run, and hold its lock by the descriptor that they inherit.
    """
    with open_run(find_experiment(arguments)) as lock:
        for title, command in list_commands(arguments, lock):
            if title:
                print(title, flush=True)
            if status := run_command([sys.executable, "-m", *command], lock):
                return status
    return 0


def list_commands(arguments: argparse.Namespace, lock: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the command of each step, as words after `python -m`.

    Args:
        arguments: options of `augmem run`.
        lock: descriptor of the file of the run, which the commands inherit.

    Raises:
        UserError: there is no such stage or recipe.
    """
    first, last = stage_number(arguments.stage), stage_number(arguments.stop_stage)
    exp = find_experiment(arguments)
    if first == 0:
        yield stage_title(0), ["augmem.doctor", "--task", DOCTOR_TASKS.get(NAMES[last], "decode")]
    names = NAMES[max(first, 1) : last + 1]
    if last > 0:
        run = ["--exp", str(exp), "--lock", str(lock), "--stages", ",".join(names)]
        yield "", ["augmem.cli", "recipe", *run, *recipe_options(arguments, exp)]
    for name in names:
        run = ["--exp", str(exp), "--recipe", str(run_file(exp))]
        yield stage_title(NAMES.index(name)), ["augmem.cli", name, *run, *stage_options(arguments, name)]


def find_experiment(arguments: argparse.Namespace) -> Path:
    """Return the folder of the experiment.

    Raises:
        UserError: there is no such recipe.
    """
    name = experiment_name(default_recipe(arguments), arguments.corpus or LIBRISPEECH)
    exp = Path(arguments.exp or f"exp/{name}")
    return exp.with_name(f"{exp.name}-dry") if arguments.dry_run else exp


def default_recipe(arguments: argparse.Namespace) -> Path:
    """Return the recipe that is given, or the one for the corpus.

    Raises:
        UserError: there is no such recipe.
    """
    default = "fine_tuning" if arguments.init_from else RECIPES.get(arguments.corpus or LIBRISPEECH, "own_data")
    return find_recipe(arguments.config or default)


def recipe_options(arguments: argparse.Namespace, exp: Path) -> list[str]:
    """Return the options of the recipe; without --config, an existing experiment keeps its own."""
    new = not (exp / "recipe.yaml").exists()
    parts = {f"--corpus.{use}": getattr(arguments, use) for use in ("train", "dev", "test")}
    given = {
        "--processes": arguments.processes,
        "--config": str(default_recipe(arguments)) if arguments.config or new else None,
        "--corpus.recipe": arguments.corpus or (LIBRISPEECH if new else None),
        **{name: quote_list(value) for name, value in parts.items() if value},
        "--corpus.source": arguments.corpus_dir,
        "--data": arguments.data,
        "--training.init_from": arguments.init_from,
        "--corpus.mix": arguments.mix_with,
    }
    overrides = [word for option in arguments.option or () for word in f"--{option}".split("=", 1)]
    return [*as_words(given), *overrides, *(DRY_RUN if arguments.dry_run else ())]


def quote_list(names: str) -> str:
    """Return names separated by commas as a YAML list of texts; without quotes, 2024, on and null are other types.

    Example:
        >>> quote_list("train, 2024")
        '["train","2024"]'
    """
    return "[" + ",".join(f'"{name}"' for name in names.replace(" ", "").split(",")) + "]"


def stage_options(arguments: argparse.Namespace, name: str) -> list[str]:
    """Return the options of a stage besides --exp."""
    if name in PARALLEL:
        return as_words({"--nj": arguments.nj, "--scheduler": arguments.scheduler})
    if name == "train":
        return as_words({"--max-minutes": arguments.max_minutes, "--processes": arguments.processes})
    return []


def as_words(options: Mapping[str, str | None]) -> list[str]:
    """Return the words of the options that have a value.

    Example:
        >>> as_words({"--nj": "2", "--scheduler": None})
        ['--nj', '2']
    """
    return [word for name, value in options.items() if value for word in (name, value)]


def stage_title(number: int) -> str:
    """Return the heading of a stage."""
    return f"\n== {number} {NAMES[number]}: {STAGES[NAMES[number]]}"


def stage_number(stage: str) -> int:
    """Return the number of a stage given by number or name.

    Raises:
        UserError: there is no such stage.

    Example:
        >>> stage_number("train"), stage_number("7")
        (6, 7)
    """
    for number, name in enumerate(NAMES):
        if stage in (name, str(number)):
            return number
    raise UserError(f"no stage '{stage}'; use 0 to {len(NAMES) - 1}, or a name: {' '.join(NAMES)}")


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of one that comes with augmem.

    Raises:
        UserError: there is none.
    """
    given = Path(name)
    for path in (given, Path("conf", f"{given.stem}.yaml"), CONF / f"{given.stem}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in CONF.glob("*.yaml")))
    raise UserError(f"no recipe {name}; give a YAML file, or one of: {known}")


def experiment_name(config: Path, corpus: str) -> str:
    """Return the name of the folder of an experiment.

    Example:
        >>> experiment_name(Path("conf/mini_librispeech.yaml"), "librispeech")
        'mini_librispeech'
        >>> experiment_name(Path("conf/own_data.yaml"), "kaldi")
        'kaldi-own_data'
    """
    return config.stem if corpus in config.stem else f"{corpus}-{config.stem}"


def run_command(command: Sequence[str], *descriptors: int) -> int:
    """Run a command to its end, also after Ctrl-C, which it receives too; return its exit status, as of a shell.

    Args:
        command: program and arguments.
        descriptors: file descriptors that the program inherits.
    """
    with subprocess.Popen(command, pass_fds=descriptors) as process:
        handlers = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            status = process.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return status if status >= 0 else 128 - status
