"""Make a smaller n-gram language model: fewer words, fewer n-grams, fewer decimals; and a lexicon of its words."""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `augmem prune-lm`."""
    parser.add_argument("input", type=Path, metavar="ARPA", help="the model: an ARPA file, plain, .gz or .xz")
    parser.add_argument("--output", type=Path, required=True, help="ARPA file to write; .gz and .xz compress it")
    text = "keep this many of the most probable words, or the words of a text or a .tsv list (default: all)"
    parser.add_argument("--vocabulary", metavar="N|FILE", help=text)
    text = "remove n-grams whose removal raises perplexity by less than this share, such as 1e-7 (%(default)s)"
    parser.add_argument("--pruning", type=float, default=0.0, metavar="X", help=text)
    parser.add_argument(
        "--max-ngrams", type=int, default=0, help="maximum number of n-grams, those of highest importance; 0: no limit"
    )
    parser.add_argument("--decimals", type=int, default=4, help="decimals of log10 values in the file (%(default)s)")
    parser.add_argument("--lexicon", type=Path, help="also write the pronunciations of the model's words")
    for name in ("upper", "lower"):
        text = f"convert words to {name} case first"
        parser.add_argument(f"--{name}-case", dest="case", action="store_const", const=name, help=text)
    text = "text whose words are added to the lexicon, such as training transcripts"
    parser.add_argument("--lexicon-text", type=Path, nargs="*", default=[], metavar="FILE", help=text)


def check_options(arguments: argparse.Namespace) -> None:
    """Check the ranges of options.

    Raises:
        UserError: a value is out of range.
    """
    rules = {
        "pruning": (0 <= arguments.pruning < 1, "in [0, 1)"),
        "max_ngrams": (arguments.max_ngrams >= 0, "0 or more"),
        "decimals": (1 <= arguments.decimals <= 6, "between 1 and 6"),
    }
    for name, (condition, rule) in rules.items():
        if not condition:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be {rule}")


def run(arguments: argparse.Namespace) -> int:
    """Write the model and the lexicon; print their sizes."""
    from augmem.lang import format_lexicon, make_lexicon, prune_model, read_arpa, write_arpa, write_lines

    check_options(arguments)
    model = read_arpa(arguments.input)
    model = model.change_case(arguments.case) if arguments.case else model
    model = prune_model(model, arguments.vocabulary, arguments.pruning, arguments.max_ngrams, arguments.decimals)
    write_arpa(arguments.output, model, arguments.decimals)
    counts = ", ".join(f"{count:,} {order}-grams" for order, count in enumerate(model.counts, start=1))
    print(f"{arguments.output}: {counts}; {arguments.output.stat().st_size:,} bytes")
    if arguments.lexicon:
        entries = make_lexicon(model.words, arguments.lexicon_text)
        write_lines(arguments.lexicon, format_lexicon(entries).splitlines())
        print(f"{arguments.lexicon}: {len(entries):,} pronunciations; {arguments.lexicon.stat().st_size:,} bytes")
    return 0
