"""Go through a corpus and print all that is wrong with it: file, line, fault and remedy.

The stage corpus checks the same, but stops at what it cannot use, and leaves out what it can do without.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which corpus, and what its utterances must be like."""
    parser.add_argument("source", type=Path, metavar="DIR", help="the corpus, as for run.sh --corpus-dir")
    kinds = ["folder", "kaldi", "librispeech", "manifests", "shar"]
    text = "what kind of corpus it is; of shar the audio is copied into a temporary folder (in $TMPDIR)"
    parser.add_argument("--corpus", choices=kinds, required=True, help=text)
    parser.add_argument("--part", action="append", default=[], help="only this part; may be repeated")
    parser.add_argument("--shortest", type=float, default=0.0, help="seconds that an utterance must last")
    parser.add_argument("--longest", type=float, help="seconds that an utterance may last")
    parser.add_argument("--most-characters", type=float, help="characters a second that can have been spoken")


def run(arguments: argparse.Namespace) -> int:
    """Print; 1 if there is any fault."""
    from augmem.corpus import CorpusConfig, Limits, validate_corpus

    limits = Limits(arguments.shortest, arguments.longest, arguments.most_characters)
    config = CorpusConfig(arguments.corpus, str(arguments.source), limits=limits)
    count = 0
    with TemporaryDirectory(prefix="augmem-validate-") as folder:
        for part, faults in validate_corpus(config, Path(folder), arguments.part):
            for fault in faults:
                print(fault.replace(f"{folder}/audio/", f"{arguments.source}/"))  # where a shard's audio comes from
            print(f"part {part}: {len(faults) or 'no'} faults")
            count += len(faults)
    return 1 if count else 0
