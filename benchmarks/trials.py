"""Train and compare variants of a recipe, one after the other: `python -m benchmarks.trials`.

benchmarks/trials.yaml lists them. Each is trained by run.sh in one process with one thread, and decoded on a dev part
alone: no test set is read. Interrupted at any moment, the command goes on where it stopped. Results are kept in
benchmarks/trials.json; a trial whose options are unchanged there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from augmem.files import read_json, write_json
from augmem.scoring import compare, read_recogs

ROOT = Path(__file__).resolve().parents[1]
PLAN, RESULTS = ROOT / "benchmarks" / "trials.yaml", ROOT / "benchmarks" / "trials.json"
SYSTEMS = ("first_pass", "rescored")


@dataclass(frozen=True)
class Plan:
    """Trials of a file.

    Args:
        recipe: recipe that all of them change.
        part: dev part that decides.
        base: name of the trial that the others are compared with.
        trials: name -> options of the recipe, by their paths.
    """

    recipe: str
    part: str
    base: str
    trials: Mapping[str, Mapping[str, Any]]


def run_trial(plan: Plan, name: str, seed: int, exp: Path, data: Path) -> dict[str, Any]:
    """Run one trial from corpus to score; return its results.

    Args:
        plan: the trials.
        name: the trial.
        seed: seed of the training.
        exp: folder of the experiment.
        data: folder of manifests and features, shared by all trials.
    """
    changes = [text for option, value in plan.trials[name].items() for text in (f"--{option}", json.dumps(value))]
    subprocess.run(
        [
            str(ROOT / "run.sh"), "--stage", "corpus", "--stop-stage", "score", "--config", plan.recipe,
            "--test", plan.part, "--corpus.allow_overlap", "true", "--data", str(data), "--exp", str(exp),
            "--processes", "1", "--nj", "1", "--training.seed", str(seed), *changes,
        ],
        check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return {
        "options": dict(plan.trials[name]),
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
        "minutes": round(read_json(exp / "train" / ".done")["cpu_seconds"] / 60, 1),
        "wer": {system: wer(exp, plan.part, system) for system in SYSTEMS},
    }


def wer(exp: Path, part: str, system: str) -> float:
    """Return the WER of a system in percent."""
    scores = read_json(exp / "score" / "summary.json")["scores"]
    (found,) = (score["wer"] for score in scores if (score["part"], score["system"]) == (part, system))
    return round(100 * found, 2)


def difference(plan: Plan, exp: Path, base: Path) -> dict[str, list[float]]:
    """Compare each system of a trial with that of the base: difference in points, its 95 % interval, p-value."""
    found = {}
    for system in SYSTEMS:
        file = Path("score", f"recogs-{plan.part}-{system}.txt")
        test = compare(read_recogs(base / file), read_recogs(exp / file), "base", "trial")
        low, high = test.bootstrap.interval
        figures = (100 * (test.wer_b - test.wer_a), 100 * low, 100 * high, test.matched_pairs.p_value)
        found[system] = [round(figure, 3) for figure in figures]
    return found


def table(results: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table of the finished trials."""
    yield "| trial | first pass WER % | difference, 95 % interval | p | rescored | difference | p | CPU min | commit |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in names:
        if name in results:
            yield row(name, results[name])


def row(name: str, result: Mapping[str, Any]) -> str:
    """Format the line of a trial."""
    cells = [name]
    for system in SYSTEMS:
        cells.append(f"{result['wer'][system]:.2f}")
        change = result["difference"].get(system)
        cells += ["{:+.2f} ({:+.2f} to {:+.2f})".format(*change), f"{change[-1]:.3f}"] if change else ["", ""]
    return f"| {' | '.join((*cells, str(result['minutes']), result['commit']))} |"


def main() -> None:
    """Run the trials that have no results yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=PLAN, help="file of trials (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these trials alone")
    parser.add_argument("--seed", type=int, default=1, help="seed of all trainings (%(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "exp" / "trials", help="experiments (%(default)s)")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "librispeech", help="manifests and features")
    args = parser.parse_args()
    plan = Plan(**yaml.safe_load(args.plan.read_text(encoding="utf-8")))
    results = read_json(RESULTS) if RESULTS.exists() else {}
    names = [plan.base, *(name for name in args.only or plan.trials if name != plan.base)]
    for name in names:
        key, options = f"{name}-{args.seed}", dict(plan.trials[name])
        if results.get(key, {}).get("options") == options:
            continue
        exp, base = args.folder / key, args.folder / f"{plan.base}-{args.seed}"
        results[key] = run_trial(plan, name, args.seed, exp, args.data)
        results[key]["difference"] = difference(plan, exp, base) if name != plan.base else {}
        write_json(RESULTS, results)
    print("\n".join(table(results, [f"{name}-{args.seed}" for name in plan.trials])))


if __name__ == "__main__":
    main()
