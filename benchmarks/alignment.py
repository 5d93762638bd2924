"""Forced alignment, compared with PocketSphinx: `python -m benchmarks.alignment --exp EXP --part dev_joe`.

PocketSphinx aligns the same transcripts with its own acoustic model (senones, 10 ms frames) and the same lexicon.
Neither alignment is a reference; agreement of two independent systems indicates that both are correct.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from augmem.commands.align import load_part
from augmem.corpus import load_cuts
from augmem.experiment import Experiment
from augmem.lang import Lang

FRAME = 0.01  # seconds per frame of PocketSphinx
TOLERANCES = (0.02, 0.05, 0.1, 0.2)


def main() -> None:
    """Align a part twice; print the differences of word boundaries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--part", default="dev_joe")
    args = parser.parse_args()
    experiment = Experiment.load(args.exp)
    cuts = {cut.id: cut for cut in load_cuts(experiment.features, [args.part], in_memory=False)}
    other = Sphinx(Lang.load(experiment.lang))
    aligner, tasks = load_part(args.exp, args.part)
    starts, ends, failed = [], [], 0
    for task in tasks:
        samples = cuts[task.name].resample(16000).load_audio()[0]
        expected, aligned = other.align(samples, task.text), aligner.align(task.scores, task.text).words
        if len(expected) != len(aligned):
            failed += 1
            continue
        starts += [word.begin - begin for word, (begin, _) in zip(aligned, expected, strict=True)]
        ends += [word.end - end for word, (_, end) in zip(aligned, expected, strict=True)]
    print(f"{args.part}: {len(starts)} words of {len(cuts) - failed} utterances; {failed} not aligned by PocketSphinx")
    for name, found in {"begin": np.array(starts), "end": np.array(ends)}.items():
        within = ", ".join(f"{np.mean(np.abs(found) <= t):.1%} within {1000 * t:.0f} ms" for t in TOLERANCES)
        print(f"word {name}: augmem - PocketSphinx, median {1000 * np.median(found):+.0f} ms; absolute, median "
              f"{1000 * np.median(np.abs(found)):.0f} ms; {within}")  # fmt: skip


class Sphinx:
    """PocketSphinx as an aligner, with the pronunciations of a lang folder."""

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self.decoder = Decoder(samprate=16000, loglevel="FATAL")
        self.known: set[str] = set()

    def align(self, samples: np.ndarray, text: str) -> list[tuple[float, float]]:
        """Return begin and end of each word in seconds; fewer entries than words if it failed."""
        for word in text.split():
            self._add_word(word)
        try:
            self.decoder.set_align_text(text.lower())
            self.decoder.start_utt()
            self.decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
            self.decoder.end_utt()
            found = [segment for segment in self.decoder.seg() or () if segment.word[0] not in "<[("]
        except RuntimeError:
            return []
        return [(segment.start_frame * FRAME, (segment.end_frame + 1) * FRAME) for segment in found]

    def _add_word(self, word: str) -> None:
        """Add the pronunciations of a word; the first one under the word itself, as PocketSphinx requires."""
        if word in self.known or word not in self.lang.pronunciations:
            return
        self.known.add(word)
        for number, units in enumerate(self.lang.pronunciations[word], 1):
            name = word.lower() if number == 1 else f"{word.lower()}({number})"
            if self.decoder.lookup_word(name) is None:
                self.decoder.add_word(name, " ".join(self.lang.unit_of[unit] for unit in units), True)


if __name__ == "__main__":
    main()
