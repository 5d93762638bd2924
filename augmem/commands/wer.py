"""Compute word error rates of any two transcripts: Kaldi's text, or NIST's trn, CTM or STM.

The difference of two hypotheses is tested. A reference in Kaldi's text format is aligned as by Kaldi's compute-wer,
others as by sclite.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from augmem.errors import UserError

if TYPE_CHECKING:
    from augmem.scoring import Score, Utterance, WordErrors

TRANSCRIPT_FORMATS = ("text", "trn", "ctm", "stm")
NORMALISATIONS = ("none", "english", "unicode")
COSTS = ("kaldi", "sclite")
MODES = ("strict", "present", "all")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("ref", type=Path, metavar="REF", help="reference: text, .trn, .ctm or .stm file")
    parser.add_argument("hyp", type=Path, metavar="HYP", nargs="+", help="one or two hypotheses in any of the formats")
    parser.add_argument("--ref-format", choices=TRANSCRIPT_FORMATS, help="format of REF (by its suffix, else text)")
    parser.add_argument("--hyp-format", choices=TRANSCRIPT_FORMATS, help="format of HYP (by its suffix, else text)")
    parser.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        default="none",
        help="normalisation of REF and HYP, as in a recipe (%(default)s)",
    )
    parser.add_argument("--language", help="language whose words replace numbers, with --normalisation unicode")
    parser.add_argument("--glm", type=Path, help="GLM file of NIST: rules that rewrite both")
    parser.add_argument("--costs", choices=COSTS, help="costs of the alignment (kaldi for text, else sclite)")
    parser.add_argument(
        "--case-sensitive",
        action="store_true",
        help="distinguish upper and lower case also in sclite's alignment and in GLM rules",
    )
    parser.add_argument(
        "--mode", choices=MODES, default="strict", help="missing utterances: error, left out, or empty (%(default)s)"
    )
    parser.add_argument("--speakers", action="store_true", help="print a row per speaker too")
    parser.add_argument("--output", type=Path, help="folder for alignments, error lists, trn and text files")
    parser.add_argument("--examples", type=int, default=10, help="differing utterances to print (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print word error rates, and a paired test of two hypotheses."""
    from augmem import scoring

    if len(arguments.hyp) > 2:
        raise UserError(f"{len(arguments.hyp)} hypotheses: give one, or two to compare")
    rules = read_rules(arguments)
    ref = scoring.read_transcript(arguments.ref, arguments.ref_format)
    systems = [rules(ref, scoring.read_transcript(path, arguments.hyp_format)) for path in arguments.hyp]
    names = shorten_names(arguments.hyp)
    scores = [
        scoring.score_system(arguments.ref.name, name, system) for name, system in zip(names, systems, strict=True)
    ]
    print(f"alignment of {rules.costs_of(ref)}, normalisation {arguments.normalisation}\n\n{scoring.wer_table(scores)}")
    for each in scores:
        if arguments.speakers:
            print(f"\n{each.system}\n{speaker_table(each)}")
        if arguments.output:
            scoring.write_score(each, arguments.output)
    if len(systems) == 2:
        print(f"\n{comparison(systems, names, arguments.examples)}")
    return 0


def read_rules(arguments: argparse.Namespace) -> WordErrors:
    """Return the rules of the options.

    Raises:
        UserError: options that do not go together.
    """
    from augmem.lang import Normalisation
    from augmem.scoring import WordErrors

    if arguments.language and arguments.normalisation != "unicode":
        raise UserError("--language needs --normalisation unicode")
    is_none = arguments.normalisation == "none"
    normalise = None if is_none else Normalisation(arguments.normalisation, arguments.language)
    return WordErrors(arguments.costs, arguments.mode, arguments.glm, arguments.case_sensitive, normalise)


def shorten_names(paths: list[Path]) -> list[str]:
    """Return the names of files, or their paths if the names are equal."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def speaker_table(score: Score) -> str:
    """Format the errors of each speaker."""
    from augmem.scoring import percent, text_table

    rows = [
        (name, percent(c.rate), *map(str, (c.insertions, c.deletions, c.substitutions, c.words)))
        for name, c in score.speakers.items()
    ]
    return text_table(("speaker", "WER %", "ins", "del", "sub", "words"), rows)


def comparison(systems: list[list[Utterance]], names: list[str], examples: int) -> str:
    """Return a paired test of two hypotheses, or why there is none: they match other alternatives of a reference."""
    from augmem.scoring import compare, comparison_text

    for a, b in zip(*systems, strict=True):
        if list(a.ref) != list(b.ref):
            return f"no paired test: utterance {a.id} is aligned with other alternatives of its reference in each"
    return comparison_text(compare(systems[0], systems[1], names[0], names[1]), examples)
