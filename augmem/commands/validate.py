"""Check a corpus and print all problems: file, line, problem and remedy.

Stage corpus makes the same checks, but stops at the first error, and skips utterances that it cannot use.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

CORPUS_FORMATS = ["folder", "kaldi", "librispeech", "manifests", "shar"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("source", type=Path, metavar="DIR", help="the corpus, as for run.sh --corpus-dir")
    text = "format of the corpus; the audio of shar is copied to a temporary folder (in $TMPDIR)"
    parser.add_argument("--corpus", choices=CORPUS_FORMATS, required=True, help=text)
    parser.add_argument("--part", action="append", default=[], help="check this part only; may be repeated")
    parser.add_argument("--shortest", type=float, default=0.0, help="minimum duration of an utterance, in seconds")
    parser.add_argument("--longest", type=float, default=40.0, help="maximum duration of an utterance, in seconds (40)")
    parser.add_argument("--allow-pipes", action="store_true", help="run the commands in wav.scp")
    parser.add_argument("--most-characters", type=float, help="maximum number of characters per second")
    text = "text normalisation, as --corpus.normalisation of run.sh"
    parser.add_argument("--normalisation", choices=["english", "unicode", "none"], default="english", help=text)
    parser.add_argument("--language", help="language code of the transcripts, such as de")


def run(arguments: argparse.Namespace) -> int:
    """Print the problems; return 1 if there are any."""
    from augmem.corpus import CorpusConfig, Limits, validate_corpus

    limits = Limits(arguments.shortest, arguments.longest, arguments.most_characters)
    text = {"normalisation": arguments.normalisation, "language": arguments.language}
    pipes = arguments.allow_pipes
    config = CorpusConfig(arguments.corpus, str(arguments.source), limits=limits, allow_pipes=pipes, **text)
    count = 0
    with TemporaryDirectory(prefix="augmem-validate-") as folder:
        for part, problems in validate_corpus(config, Path(folder), arguments.part):
            for problem in problems:
                print(problem.replace(f"{folder}/audio/", f"{arguments.source}/"))  # where the audio of a shard is from
            print(f"part {part}: {len(problems)} problems" if problems else f"part {part}: no problems found")
            count += len(problems)
    return 1 if count else 0
