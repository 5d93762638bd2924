"""Compare encoders of one size and recipe: `python -m benchmarks.baselines --train full` trains them, prints a table.

Finished experiments are not trained again, so the benchmark can be interrupted; `--only` selects encoders.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from augmem.files import read_json
from augmem.model import AcousticModel
from augmem.scoring import Utterance, compare, read_recogs

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = "first_pass"
ENCODERS = {
    "augmented_memory": [],
    "lc_blstm": ["--encoder.type", "lc_blstm"],
    "left_context_only": ["--encoder.type", "transformer_xl"],
    "full_context": ["--encoder.type", "full_context"],
    "pro_scale": ["--encoder.type", "pro_scale"],
    "conv_transformer": ["--encoder.type", "conv_transformer"],
    "conformer_kernel": ["--encoder.type", "conformer_kernel"],
    "no_memory": ["--encoder.memory_slots", "0"],
    "summary_without_bank": ["--encoder.summary_sees_memory", "false"],
    "half_contexts": ["--encoder.left_context", "0.32", "--encoder.centre", "0.64", "--encoder.right_context", "0.16"],
    "double_contexts": [
        "--encoder.left_context",
        "1.28",
        "--encoder.centre",
        "2.56",
        "--encoder.right_context",
        "0.64",
    ],
}


def main() -> None:
    """Train missing experiments, then print the table."""
    args = options()
    names = args.only or list(ENCODERS)
    for seed in args.seeds:
        for name in names:
            train(name, seed, args)
    print_table(names, args.seeds, args.folder, args.baseline)


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=ENCODERS, metavar="NAME", help=", ".join(ENCODERS))
    parser.add_argument("--folder", type=Path, default=ROOT / "exp" / "baselines")
    parser.add_argument(
        "--baseline",
        default="lc_blstm",
        choices=ENCODERS,
        metavar="NAME",
        help="encoder that the others are compared with",
    )
    parser.add_argument("--config", default="conf/baselines.yaml")
    parser.add_argument("--train", default="full", help="training part")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    return parser.parse_args()


def train(name: str, seed: int, args: argparse.Namespace) -> None:
    """Run one experiment from corpus to scores with run.sh."""
    exp = experiment(args.folder, name, seed)
    place = ["--config", args.config, "--train", args.train, "--exp", str(exp), "--nj", "2"]
    stages = ["--stage", "corpus", "--stop-stage", "score"]
    subprocess.run(
        [str(ROOT / "run.sh"), *place, *stages, "--training.seed", str(seed), *ENCODERS[name]],
        check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
    )  # fmt: skip


def experiment(folder: Path, name: str, seed: int) -> Path:
    """Return the experiment folder of an encoder and a seed."""
    return folder / f"{name}-{seed}"


def print_table(names: Sequence[str], seeds: Sequence[int], folder: Path, baseline: str) -> None:
    """Print WER by seed, the paired test against the baseline over all seeds, delay, size and CPU time."""
    parts = [score["part"] for score in scores(experiment(folder, names[0], seeds[0]))]
    for part in dict.fromkeys(parts):
        print(f"\n### {part}\n")
        print(f"| encoder | WER % by seed | 95 % interval | over {baseline} | p | delay | parameters | CPU min |")
        print("|---|---|---|---|---|---|---|---|")
        for name in names:
            print(row(name, part, seeds, folder, baseline))


def row(name: str, part: str, seeds: Sequence[int], folder: Path, baseline: str) -> str:
    """Format the line of one encoder; the test is paired over the utterances of all seeds."""
    exps = [experiment(folder, name, seed) for seed in seeds]
    found = [next(s for s in scores(exp) if s["part"] == part and s["system"] == SYSTEM) for exp in exps]
    rates = ", ".join(f"{100 * s['wer']:.2f}" for s in found)
    own, reference = pool(exps, part), pool([experiment(folder, baseline, seed) for seed in seeds], part)
    test = compare(own, reference, name, baseline)
    model = AcousticModel.load(exps[0] / "train" / "model.safetensors")
    size = sum(parameter.numel() for parameter in model.parameters())
    cpu = sum(read_json(exp / "train" / ".done")["cpu_seconds"] for exp in exps) / len(exps) / 60
    low, high = (sum(s["interval"][side] for s in found) / len(found) for side in (0, 1))
    difference = "" if name == baseline else f"{100 * (test.wer_a - test.wer_b):+.2f}"
    p = "" if name == baseline else f"{test.bootstrap.p_value:.3f}"
    interval, latency = f"{100 * low:.1f} - {100 * high:.1f}", model.encoder.average_latency
    delay = f"{latency:.2f} s" if isfinite(latency) else "whole utterance"
    return f"| {' | '.join((name, rates, interval, difference, p, delay, f'{size:,}', f'{cpu:.1f}'))} |"


def pool(exps: Sequence[Path], part: str) -> list[Utterance]:
    """Read the results of all seeds; utterance ids get the number of the seed."""
    return [
        Utterance(f"{number}-{item.id}", item.speaker, item.ref, item.hyp)
        for number, exp in enumerate(exps)
        for item in read_recogs(exp / "score" / f"recogs-{part}-{SYSTEM}.txt")
    ]


def scores(exp: Path) -> list[dict[str, Any]]:
    """Read the scores of an experiment."""
    return list(read_json(exp / "score" / "summary.json")["scores"])


if __name__ == "__main__":
    main()
