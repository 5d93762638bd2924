"""WER of PocketSphinx with its own English model on the carried sets: `python -m benchmarks.pocketsphinx`.

A recogniser off the shelf, for comparison. Its wheel contains the acoustic model, the dictionary (CMUdict) and the
trigram model. Whole utterances are decoded, offline, with its default options. Both
texts are normalised as in scoring.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from augmem.corpus.carried import CARRIED_PARTS
from augmem.lang import ENGLISH
from augmem.scoring import Utterance
from benchmarks.shipped_model import Results, Speech, read_part


def decode(decoder: Decoder, speech: Speech) -> str:
    """Return the best hypothesis for a whole utterance."""
    decoder.start_utt()
    decoder.process_raw((32767 * speech.samples).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def recognise_offline(decoder: Decoder, speeches: Sequence[Speech]) -> Results:
    """Decode and score utterances."""
    results = Results([], [])
    for speech in speeches:
        started = time.process_time()
        hypothesis = decode(decoder, speech)
        results.computing += time.process_time() - started
        results.audio += len(speech.samples) / speech.rate
        reader, chapter, _ = speech.id.split("-")
        words = ENGLISH(hypothesis).split()
        results.utterances.append(Utterance(speech.id, reader, speech.words, words, f"{reader}-{chapter}"))
    return results


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=[*CARRIED_PARTS.dev, *CARRIED_PARTS.test])
    parser.add_argument("--every", type=int, default=1, help="decode every N-th utterance (%(default)s)")
    args = parser.parse_args()
    print("| part | utterances | words | WER % | by utterance | by chapter | real-time factor |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            speeches = read_part(part, Path(folder), args.every)
            results = recognise_offline(Decoder(samprate=speeches[0].rate, loglevel="ERROR"), speeches)
            row = results.row()[:-1]
            print(f"| {' | '.join((part, *row, f'{results.computing / results.audio:.3f}'))} |", flush=True)


if __name__ == "__main__":
    main()
