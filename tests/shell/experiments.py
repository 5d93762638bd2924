"""Run run.sh and the console command on small experiments with the speech of the fixture."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path

import pytest

from augmem import cli
from augmem.run_options import run_file
from tests.corpus.corpora import build_librispeech_tree

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT / "tests" / "fixtures" / "speech"
AUGMEM = str(ROOT / ".venv" / "bin" / "augmem")
PART = "train-fixture"
DRY = ["--training.max_steps", "1", "--training.batches.max_duration", "10"]

Text = subprocess.CompletedProcess[str]


def run(*options: str | Path) -> Text:
    """Run ./run.sh."""
    return subprocess.run(["./run.sh", *map(str, options)], cwd=ROOT, capture_output=True, text=True, timeout=1500)


def augmem(*arguments: str | Path) -> Text:
    """Run the console command in this process, where torch and k2 are already imported."""
    out, err, log = io.StringIO(), io.StringIO(), logging.getLogger()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [AUGMEM, *map(str, arguments)])
        patch.setattr(log, "handlers", [])  # so that the command configures logging as in a new process
        patch.setattr(log, "level", log.level)
        try:
            code = cli.main()
        except SystemExit as end:  # wrong options
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_here(*options: str | Path) -> Text:
    """Run the stages of run.sh in this process; takes the options of run.sh except --stage."""
    words = [str(option) for option in options if option != "--dry-run"]
    if dry := len(words) < len(options):
        words += DRY
    given = dict(zip(words[::2], words[1::2], strict=True))
    exp, last, _ = given.pop("--exp"), given.pop("--stop-stage", "report"), given.pop("--nj", None)
    exp += "-dry" if dry else ""
    named = {"--corpus": "--corpus.recipe", "--corpus-dir": "--corpus.source"}
    recipe = {named.get(name, name): value for name, value in given.items()}
    for name in ("--train", "--dev", "--test"):
        if name in recipe:
            recipe[f"--corpus.{name[2:]}"] = f"[{recipe.pop(name)}]"
    stages = list(cli.STAGE_COMMANDS)[: list(cli.STAGE_COMMANDS).index(last) + 1]
    done = [augmem("recipe", "--exp", exp, "--stages", ",".join(stages), *chain(*recipe.items()))]
    for stage in stages:
        if done[-1].returncode == 0:
            done.append(
                augmem(
                    stage,
                    "--exp",
                    exp,
                    "--recipe",
                    run_file(Path(exp)),
                    *(["--nj", "1"] if stage in cli.PARALLEL else []),
                )
            )
    out, err = ("".join(texts) for texts in zip(*((one.stdout, one.stderr) for one in done), strict=True))
    return subprocess.CompletedProcess(options, done[-1].returncode, out, err)


def fixture_options(folder: Path) -> list[str | Path]:
    """Return options of run.sh for an experiment in `folder` that trains, tunes and tests on the same 29 utterances."""
    tree = build_librispeech_tree(SPEECH, folder / "LibriSpeech", part=PART)
    parts = ["--train", PART, "--dev", PART, "--test", PART]
    place = ["--data", folder / "data", "--exp", folder / "exp", "--nj", "2"]
    return [
        "--corpus",
        "librispeech",
        "--corpus-dir",
        tree,
        "--config",
        "conf/fixture.yaml",
        "--corpus.allow_overlap",
        "true",
        *parts,
        *place,
    ]
