"""Build a decoding graph of a large vocabulary: `python -m benchmarks.graph --words LIST --text FILES`.

The vocabulary consists of the CMU dictionary and, up to --size, words of the list with guessed pronunciations. The
3-gram is estimated on the texts and pruned. The size and time of each step and the peak memory are printed.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
from pathlib import Path

from augmem.automata import SizeLog, build_hlg, read_grammar
from augmem.lang import (
    Lang,
    LangConfig,
    LmConfig,
    load_cmudict,
    normalise_text,
    prepare_lang,
    prepare_language_models,
)


def main() -> None:
    """Build all files in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=Path, required=True, help="file with one word per line, in any order")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="files of running English text")
    parser.add_argument("--size", type=int, default=200_000, help="size of the vocabulary (%(default)s)")
    parser.add_argument("--pruning", type=float, default=1e-8, help="pruning threshold of the 3-gram (%(default)s)")
    parser.add_argument("--topology", default="ctc")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        build(args, Path(folder))


def build(args: argparse.Namespace, folder: Path) -> None:
    """Build lang folder, grammar and HLG."""
    started = time.time()
    texts = [normalise_text(line) for path in args.text for line in path.read_text(errors="replace").splitlines()]
    texts = [text for text in texts if len(text.split()) > 2]
    lines = args.words.read_text(errors="replace").splitlines()
    more = [word for word in map(normalise_text, lines) if word and " " not in word]
    vocabulary = list(dict.fromkeys([*load_cmudict(), *more]))[: args.size]
    report(
        f"{sum(len(text.split()) for text in texts):,} words of text, {len(vocabulary):,} in the vocabulary", started
    )
    prepare_lang(LangConfig(), vocabulary, folder / "lang")
    report("lang folder", started)
    config = LmConfig(first_pass_pruning=args.pruning, rescoring_order=2)
    prepare_language_models(config, texts, {}, folder / "lang", folder / "lm")
    report("language models", started)
    grammar = read_grammar(folder / "lm" / "first_pass.fst.txt")
    build_hlg(Lang.load(folder / "lang"), args.topology, grammar, SizeLog())
    report("HLG", started)


def report(step: str, started: float) -> None:
    """Print a step with the elapsed time and the peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{step}: after {time.time() - started:.0f} s, peak memory {peak:.1f} GiB", flush=True)


if __name__ == "__main__":
    main()
