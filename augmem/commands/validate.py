"""Check a corpus and print all problems with file, line and remedy.

The corpus stage runs the same checks, but stops at errors and skips unusable utterances.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add options for the corpus and the limits of its utterances."""
    parser.add_argument("source", type=Path, metavar="DIR", help="the corpus, as for run.sh --corpus-dir")
    kinds = ["folder", "kaldi", "librispeech", "manifests", "shar"]
    text = "type of corpus; audio of shar is copied to a temporary folder (in $TMPDIR)"
    parser.add_argument("--corpus", choices=kinds, required=True, help=text)
    parser.add_argument("--part", action="append", default=[], help="part to check; can be repeated (all)")
    parser.add_argument("--shortest", type=float, default=0.0, help="minimum duration of an utterance, in seconds")
    parser.add_argument("--longest", type=float, help="maximum duration of an utterance, in seconds")
    parser.add_argument("--most-characters", type=float, help="maximum number of characters per second")


def run(arguments: argparse.Namespace) -> int:
    """Print all problems; return 1 if there are any."""
    from augmem.corpus import CorpusConfig, Limits, validate_corpus

    limits = Limits(arguments.shortest, arguments.longest, arguments.most_characters)
    config = CorpusConfig(arguments.corpus, str(arguments.source), limits=limits)
    count = 0
    with TemporaryDirectory(prefix="augmem-validate-") as folder:
        for part, faults in validate_corpus(config, Path(folder), arguments.part):
            for fault in faults:
                print(fault.replace(f"{folder}/audio/", f"{arguments.source}/"))  # the origin of audio in shards
            print(f"part {part}: {len(faults) or 'no'} faults")
            count += len(faults)
    return 1 if count else 0
