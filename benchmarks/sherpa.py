"""sherpa-onnx and this project on one model: `python -m benchmarks.sherpa --exp EXP`, some dev utterances.

The model is exported, and sherpa-onnx (unmodified) transcribes each utterance as the README of the export says, with
model.onnx and with model.int8.onnx. This project computes the scores of the same samples, silence included, and
searches the same graph, with the same scales on its arcs, by kaldi-decoder with the options of sherpa-onnx and by k2.
Words of sherpa-onnx must equal those of kaldi-decoder up to rounding; differences from k2 are those of the searches.
Streaming recognition as users run it chooses words from lattices. The last row is the onnx engine. One process, one
thread. Times are processor seconds, without loading.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import kaldi_decoder
import kaldialign
import kaldifst
import numpy as np
import sherpa_onnx
import torch
from numpy.typing import NDArray

from augmem.corpus import load_cuts
from augmem.decoding import DecodingGraph, SearchConfig, best_path, find_lattices, path_word_ids
from augmem.experiment import Experiment
from augmem.onnx_engine import EngineOptions, OnnxRecognizer
from augmem.onnx_export import export_onnx_package
from augmem.packaging import package_model, read_experiment
from augmem.references import reference_words
from augmem.sherpa import export_sherpa
from augmem.streaming import OnlineFeatures, Package, Recognizer, RecognizerOptions
from benchmarks.kaldi_decoder import kaldi_best

Samples = NDArray[np.float32]
Words = list[str]
MAX_ACTIVE, BEAM = 3000, 16.0  # of sherpa-onnx
SILENCE = 1.65  # seconds


@dataclass(frozen=True)
class Utterance:
    """Samples, their rate, words of the reference, and duration in seconds."""

    samples: Samples
    rate: int
    reference: Words
    seconds: float


class SherpaOnnx:
    """sherpa-onnx with an exported model."""

    def __init__(self, folder: Path, model: str) -> None:
        self.word_of = word_table(folder / "words.txt")
        self.recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
            tokens=str(folder / "tokens.txt"), model=str(folder / model), ctc_graph=str(folder / "HLG.fst"),
            ctc_max_active=MAX_ACTIVE, num_threads=1,
        )  # fmt: skip

    def __call__(self, utterance: Utterance) -> Words:
        """Return the words of an utterance."""
        stream = self.recognizer.create_stream()
        stream.accept_waveform(utterance.rate, with_silence(utterance))
        while self.recognizer.is_ready(stream):
            self.recognizer.decode_stream(stream)
        return [self.word_of[word] for word in self.recognizer.get_result_all(stream).words]


class Searches:
    """This project's scores, and two searches of the exported graph."""

    def __init__(self, package: Package, folder: Path) -> None:
        self.package = package
        self.fst = kaldifst.StdConstFst.read(str(folder / "HLG.fst"))
        hlg = DecodingGraph.load(package.graph).fsa[0]
        bonus = package.scales.word_insertion_bonus * word_counts(hlg.aux_labels)
        hlg.scores = package.scales.lm_scale * hlg.scores + bonus
        del hlg.lm_scores
        self.graph = DecodingGraph(hlg)

    def scores(self, utterance: Utterance) -> torch.Tensor:
        """Return log-probabilities (T, V) of the frames that sherpa-onnx decodes: whole windows."""
        features = OnlineFeatures(self.package.features)
        features.accept(with_silence(utterance), utterance.rate)
        frames, encoder = torch.from_numpy(features.take()), self.package.model.encoder
        window = (encoder.centre + encoder.right) * encoder.subsampling
        windows = (len(frames) - window - 1) // encoder.chunk_frames + 1
        with torch.no_grad():
            scores, _ = self.package.model(frames[None], torch.tensor([len(frames)]))
        return scores[0, : windows * encoder.centre]

    def by_kaldi(self, utterance: Utterance) -> Words:
        """Return the words that kaldi-decoder finds with the options of sherpa-onnx."""
        options = kaldi_decoder.FasterDecoderOptions(beam=BEAM, max_active=MAX_ACTIVE)
        return self._words(kaldi_best(self.fst, self.scores(utterance), options)[1])

    def by_k2(self, utterance: Utterance, search: SearchConfig) -> Words:
        """Return the words of the best path of k2's lattice."""
        scores = self.scores(utterance)
        lattice = find_lattices(scores[None], torch.tensor([len(scores)]), self.graph, search)[0].lattice
        return [] if lattice.is_empty else self._words(path_word_ids(lattice, best_path(lattice)))

    def _words(self, numbers: Sequence[int]) -> Words:
        return [self.package.lang.word_of[number] for number in numbers]


def word_table(path: Path) -> dict[int, str]:
    """Read words.txt: number -> word."""
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {int(number): word for word, number in rows}


def word_counts(aux_labels: object) -> torch.Tensor:
    """Return the number of words of each arc."""
    splits = aux_labels.shape.row_splits(1).long()  # type: ignore[attr-defined]
    before = torch.nn.functional.pad((aux_labels.values > 0).long().cumsum(0), (1, 0))  # type: ignore[attr-defined]
    return (before[splits[1:]] - before[splits[:-1]]).float()


def with_silence(utterance: Utterance) -> Samples:
    """Append silence, so that the last windows are decoded."""
    return np.append(utterance.samples, np.zeros(int(SILENCE * utterance.rate), np.float32))


def stream(recognizer: Recognizer | OnnxRecognizer, utterance: Utterance) -> Words:
    """Recognise an utterance as a stream."""
    packets = np.array_split(utterance.samples, max(1, round(utterance.seconds / 0.1)))
    return [word.text for event in recognizer.transcribe(packets, utterance.rate) for word in event.words]


def load_utterances(experiment: Experiment, every: int) -> list[Utterance]:
    """Return every n-th utterance of the first dev part."""
    cuts = load_cuts(experiment.features, [experiment.parts.dev[0]], in_memory=False)
    return [
        Utterance(cut.load_audio()[0].astype(np.float32), cut.sampling_rate, list(reference_words(cut)), cut.duration)
        for cut in islice(cuts, 0, None, every)
    ]


def measure(name: str, words_of: Callable[[Utterance], Words], utterances: Sequence[Utterance]) -> list[Words]:
    """Transcribe all utterances; print a row with WER and real-time factor."""
    words_of(utterances[0])
    started = time.process_time()
    found = [words_of(utterance) for utterance in utterances]
    rtf = (time.process_time() - started) / sum(utterance.seconds for utterance in utterances)
    errors = sum(distance(u.reference, words) for u, words in zip(utterances, found, strict=True))
    wer = 100 * errors / sum(len(utterance.reference) for utterance in utterances)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {wer:.2f} | {rtf:.3f} | {memory:.0f} |", flush=True)
    return found


def distance(first: Words, second: Words) -> int:
    """Return the number of words that differ."""
    return int(kaldialign.edit_distance(first, second)["total"])


def compare(name: str, first: Sequence[Words], second: Sequence[Words]) -> None:
    """Print how many words and utterances differ."""
    differences = [distance(a, b) for a, b in zip(first, second, strict=True)]
    words = sum(map(len, first))
    print(f"{name}: {sum(differences)} of {words} words differ, in {np.count_nonzero(differences)} utterances")


def main() -> None:
    """Print a table and the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="use every N-th utterance of dev (%(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the export here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment, package = Experiment.load(args.exp), read_experiment(args.exp)
    utterances = load_utterances(experiment, args.every)
    seconds = sum(utterance.seconds for utterance in utterances)
    print(f"{len(utterances)} utterances, {seconds:.0f} s, {sum(len(u.reference) for u in utterances)} words\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "export"
        os.environ["AUGMEM_CACHE"] = str(Path(temporary) / "cache")
        export_sherpa(package, folder)
        for file in sorted(folder.iterdir()):
            print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
        print("\n| system | WER % | RTF | memory, MiB |\n|---|---|---|---|")
        sherpa = measure("sherpa-onnx", SherpaOnnx(folder, "model.onnx"), utterances)
        int8 = measure("sherpa-onnx, int8", SherpaOnnx(folder, "model.int8.onnx"), utterances)
        searches = Searches(package, folder)
        kaldi = measure("this model, kaldi-decoder", searches.by_kaldi, utterances)
        equal = SearchConfig(search_beam=BEAM, max_active=MAX_ACTIVE)
        k2_words = measure("this model, k2", partial(searches.by_k2, search=equal), utterances)
        wide = SearchConfig(search_beam=24.0, output_beam=8.0, max_active=20000)
        wide_words = measure("this model, k2, beam 24", partial(searches.by_k2, search=wide), utterances)
        package_model(experiment, Path(temporary) / "package")
        recognizer = Recognizer.load(Path(temporary) / "package", RecognizerOptions.one_segment())
        live = measure("streaming recognition", partial(stream, recognizer), utterances)
        export_onnx_package(package, experiment.grammar, Path(temporary) / "onnx")
        started = time.process_time()
        engine = OnnxRecognizer(Path(temporary) / "onnx", EngineOptions().one_segment())
        loading = time.process_time() - started
        small = measure("onnx engine, int8", partial(stream, engine), utterances)
    print()
    compare("sherpa-onnx, this model with kaldi-decoder", sherpa, kaldi)
    compare("sherpa-onnx, this model with k2", sherpa, k2_words)
    compare("sherpa-onnx, this model with k2 and beam 24", sherpa, wide_words)
    compare("sherpa-onnx, int8", sherpa, int8)
    compare("sherpa-onnx, streaming recognition", sherpa, live)
    compare("streaming recognition, onnx engine", live, small)
    print(f"the onnx engine builds its graph in {loading:.1f} s")


if __name__ == "__main__":
    main()
