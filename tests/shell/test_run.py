"""run.sh and the tools on the 29 utterances of the fixture, as a LibriSpeech tree."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import median

import kaldi_decoder
import kaldialign
import numpy as np
import psutil
import pytest
import soundfile
import torch
from praatio.textgrid import openTextgrid

from augmem.corpus import load_cuts
from augmem.decoding import DecodingConfig, DecodingGraph, best_path, path_word_ids
from augmem.experiment import Experiment
from augmem.graph import HLG_FILE
from augmem.lang import Lang
from augmem.scoring import TimedWord
from augmem.serving import recognize
from augmem.streaming import Recognizer, RecognizerOptions
from benchmarks.alignment import Sphinx
from benchmarks.kaldi_decoder import kaldi_best, lattice_of, load_items, openfst
from tests.ctm import read_ctm
from tests.serving.processes import BROWSER, browsing, serving
from tests.shell.experiments import PART, SPEECH, augmem, fixture_options, run, run_here

Trained = tuple[Path, list[str | Path]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Folder and options of an experiment on the fixture; the first test trains it."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, fixture_options(folder)


@pytest.fixture(scope="module")
def package(trained: Trained) -> Path:
    """Package the model of the first test."""
    folder, _ = trained
    result = augmem("package", "--exp", folder / "exp", "--output", folder / "package")
    assert result.returncode == 0, result.stderr
    return folder / "package"


def transcripts() -> dict[str, str]:
    """Return the transcripts of the fixture by recording."""
    rows = (SPEECH / "manifest.tsv").read_text().splitlines()[1:]
    return {row.split("\t")[0]: row.split("\t")[-1] for row in rows}


def fixture_words() -> int:
    """Count the words of the fixture."""
    return sum(len(text.split()) for text in transcripts().values())


def test_all_stages_end_with_a_table_and_a_report(trained: Trained) -> None:
    folder, options = trained
    result = run(*options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    for stage in ("corpus", "features", "lang", "lm", "graphs", "train", "decode", "score", "report"):
        assert f" {stage}: " in result.stdout
    scores = json.loads((folder / "exp" / "score" / "summary.json").read_text())
    for row in scores["scores"]:
        assert (row["part"], row["utterances"], row["words"]) == (PART, 29, fixture_words())
        assert row["wer"] < 0.05, "overfitted on 29 utterances"
    page = (folder / "exp" / "report" / "report.html").read_text()
    assert PART in page and "Text normalisation" in page
    normalised = (folder / "exp" / "score" / "normalisation.tsv").read_text().splitlines()
    assert len(normalised) == 1 + 29 and all(line.count("\t") == 2 for line in normalised)
    assert len(list((folder / "exp" / "score").glob("recogs-*.txt"))) == 3, "first_pass, rescored, mbr"


def test_a_second_run_skips_all_stages(trained: Trained) -> None:
    folder, options = trained
    if not (folder / "exp" / "score").exists():
        pytest.fail("the first run left no scores")
    before = {path: path.stat().st_mtime_ns for path in (folder / "exp" / "train").glob("*.safetensors")}
    result = run(*options)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.count("up to date") == 10
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "exp" / "train").glob("*.safetensors")}


def test_the_best_path_equals_that_of_kaldi_decoder(trained: Trained) -> None:
    """Scores of the trained model on its HLG: kaldi-decoder finds a path with the same cost and words."""
    folder, _ = trained
    experiment = Experiment.load(folder / "exp")
    graph = DecodingGraph.load(experiment.graphs / HLG_FILE)
    fst = openfst(graph.fsa[0])
    options = kaldi_decoder.FasterDecoderOptions(beam=20, max_active=10000)
    config = DecodingConfig(search_beam=20, output_beam=10, max_active=10000, acoustic_scale=1.0)
    for item in load_items(experiment, PART, Lang.load(experiment.lang), every=4):
        score, words = kaldi_best(fst, item.scores, options)
        lattice = lattice_of(graph, item.scores, config)
        path = best_path(lattice)
        assert lattice.scores[path].sum() == pytest.approx(score, abs=1e-2)
        assert path_word_ids(lattice, path) == words == item.reference


@pytest.mark.parametrize("sharpness", [0.1, 0.5, 1.0, 2.0, 4.0, 10.0])
def test_the_best_path_of_random_scores_equals_that_of_kaldi_decoder(trained: Trained, sharpness: float) -> None:
    """Random scores, from nearly uniform to nearly one-hot, on the same HLG, without pruning in both decoders."""
    folder, _ = trained
    graph = DecodingGraph.load(folder / "exp" / "graphs" / HLG_FILE)
    fst, states = openfst(graph.fsa[0]), graph.fsa[0].shape[0]
    options = kaldi_decoder.FasterDecoderOptions(beam=1000, max_active=10 * states)
    config = DecodingConfig(search_beam=1000, output_beam=10, max_active=10 * states, acoustic_scale=1.0)
    wider = replace(config, search_beam=2000, output_beam=20)
    generator = torch.Generator().manual_seed(round(10 * sharpness))
    for frames in (30, 45, 60):
        noise = torch.randn(frames, int(graph.fsa.labels.max()) + 1, generator=generator)
        scores = (sharpness * noise).log_softmax(1)
        score, words = kaldi_best(fst, scores, options)
        for lattice in (lattice_of(graph, scores, config), lattice_of(graph, scores, wider)):
            path = best_path(lattice)
            assert lattice.scores[path].sum() == pytest.approx(score, abs=1e-2)
            assert path_word_ids(lattice, path) == words


@pytest.mark.parametrize("topology", ["modified_ctc", "hmm", "chain"])
def test_all_stages_with_other_topologies(trained: Trained, tmp_path: Path, topology: str) -> None:
    """The same topology in numerator, denominator and decoding; n-best lists rescored with a neural language model."""
    _, options = trained
    options = [*options, "--exp", tmp_path / "exp", "--graph.topology", topology, "--neural_lm.epochs", "1"]
    result = run_here(*options, "--training.epochs", "3", "--training.ctc_epochs", "1", "--stop-stage", "score")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    scores = json.loads((tmp_path / "exp" / "score" / "summary.json").read_text())["scores"]
    assert [row["system"] for row in scores] == ["first_pass", "rescored", "neural", "mbr"]


def test_two_processes_stop_and_resume_a_training(trained: Trained, tmp_path: Path) -> None:
    """--max-minutes stops the first run with status 3."""
    folder, options = trained
    for stage in ("lang", "lm", "training_graphs", "graphs"):
        shutil.copytree(folder / "exp" / stage, tmp_path / "exp" / stage)
    options = [*options, "--exp", tmp_path / "exp", "--stage", "train", "--stop-stage", "train", "--processes", "2"]
    options += ["--training.accumulate", "2", "--training.epochs", "2", "--training.ctc_epochs", "1"]
    stopped = run(*options, "--max-minutes", "0.0001")
    assert stopped.returncode == 3 and "stopped early" in stopped.stdout, stopped.stderr[-4000:]
    result = run(*options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert (
        result.stdout.count("2 processes on") == 1 and result.stdout.count("model.safetensors: weights of epoch 2") == 1
    )


def test_inspect_plots_attention(trained: Trained) -> None:
    folder, _ = trained
    speech = SPEECH / "flac" / "jfk.flac"
    command = ["inspect", "--exp", folder / "exp", "--output", folder / "heads.png"]
    result = augmem(*command, "--audio", speech)
    assert result.returncode == 0, result.stderr
    # 11 s in centres of 1.28 s: the ninth segment attends to eight slots and its left context; it has no right context.
    assert result.stdout.startswith("segment 9: memory 8, left 16, centre 19, right 0\nlayer 1: memory ")
    assert (folder / "heads.png").read_bytes().startswith(b"\x89PNG")
    result = augmem(*command, "--audio", speech, "--segment", "0")
    assert result.returncode == 1 and "segment 0: the utterance has segments 1 to 9" in result.stderr
    result = augmem(*command, "--utterance", "nobody")
    assert result.returncode == 1 and "no utterance nobody in parts train-fixture" in result.stderr


def test_streaming_results_equal_offline_results(trained: Trained, package: Path) -> None:
    """Streaming recognition of the training utterances, from audio."""
    folder, _ = trained
    result = augmem("stream", "--exp", folder / "exp", "--nj", "2")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((folder / "exp" / "streaming" / "summary.json").read_text())["scores"]
    assert (row["system"], row["utterances"], row["words"]) == ("streaming", 29, fixture_words())
    assert row["wer"] < 0.05
    assert "streaming: WER" in result.stdout and "paired bootstrap" in result.stdout
    page = (folder / "exp" / "report" / "report.html").read_text()
    assert "<b>streaming against first pass</b>" in page and re.search("<td[^>]*>streaming</td>", page)

    speech = sorted((SPEECH / "flac").glob("*.flac"))[::10]
    assert "parameters, look-ahead 0.32 s" in (package / "README.md").read_text()
    result = augmem("transcribe", "--package", package, "--compare-offline", *speech)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == len(speech)


def test_a_package_of_low_rank_streams_as_it_decodes_offline(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    options = ("package", "--exp", folder / "exp", "--output", tmp_path / "small")
    result = augmem(*options, "--low-rank", "0.5", "0")
    assert result.returncode == 1 and "--low-rank 0.5 0: must be the shares" in result.stderr
    assert not (tmp_path / "small").exists()
    result = augmem(*options, "--low-rank", "0.9", "0.4")
    assert result.returncode == 0, result.stderr
    name = sorted((SPEECH / "flac").glob("*.flac"))[0]
    result = augmem("transcribe", "--package", tmp_path / "small", "--compare-offline", name)
    assert result.returncode == 0, result.stdout + result.stderr
    step = ("--output", tmp_path / "step.pt", "--bank-size", "4")
    result = augmem("export", "--exp", folder / "exp", *step, "--low-rank", "0.4", "0.2")
    assert result.returncode == 0, result.stderr


def test_segments_of_continuous_speech_lose_and_repeat_no_word(package: Path) -> None:
    """Twelve sentences without pauses, in segments of at most four seconds."""
    whole = Recognizer.load(package, RecognizerOptions.one_segment())
    spoken = dict(list(transcripts().items())[:12])
    scores = []
    for name in spoken:
        stream = whole.stream()
        search = stream.search
        stream.accept_waveform(*soundfile.read(SPEECH / "flac" / f"{name}.flac", dtype="float32"))
        whole.finish([stream])
        scores += search.log_probs
    segmented = Recognizer.load(package, RecognizerOptions(rules=(), max_segment=4.0))
    stream = segmented.stream()
    for chunk in torch.cat(scores).split(32):
        stream.add_scores(chunk, stream.encoder_state)
        segmented.decoder.advance([stream])
    segmented.decoder.finish([stream])
    finals = [event for event in stream.events() if event.kind == "final"]
    assert len(finals) >= 10
    recognised = " ".join(event.text for event in finals).split()
    assert kaldialign.edit_distance(" ".join(spoken.values()).split(), recognised)["total"] <= 1


@pytest.mark.skipif(BROWSER is None, reason="chromium not found: apt-get install chromium")
def test_the_web_page_shows_recognised_words(package: Path, tmp_path: Path) -> None:
    """In a browser with a simulated microphone, a file dropped on the page and a file chosen.

    The model has overfitted the recordings at one alignment with its frames of 40 ms. The start time of the microphone
    is random, so its sentence is repeated with a shift of 10 ms each time.
    """
    spoken = {name: text.lower() for name, text in transcripts().items()}
    samples, rate = soundfile.read(SPEECH / "flac" / "goforward.flac")
    repeated = np.zeros(round(4.01 * rate))
    repeated[rate // 2 : rate // 2 + len(samples)] = samples
    soundfile.write(tmp_path / "microphone.wav", repeated, rate)
    finals = "[...document.querySelectorAll('#results span:not(.partial)')]"
    pictures = Path(os.environ.get("AUGMEM_PICTURES", tmp_path))  # set it to keep the screenshots

    async def visit(address: str) -> None:
        async with browsing(tmp_path / "browser", tmp_path / "microphone.wav", address) as tab:
            await tab.press("r")
            await tab.until("document.querySelectorAll('#results .partial').length > 0")
            await tab.until("document.getElementById('level').value > 0.3")
            assert float((await tab.text("delay")).split()[0]) >= 0 and await tab.text("state") == "Listening"
            await tab.take_screenshot(pictures / "listening.png")
            await tab.until(f"{finals}.map(word => word.textContent).join('').includes('{spoken['goforward']}')")
            await tab.run("document.getElementById('record').click()")
            await tab.until("document.getElementById('state').textContent === 'Done'")
            assert float((await tab.text("final")).split()[0]) > 0
            for shown in await tab.run(f"{finals}.map(word => [word.title, word.style.opacity])"):
                assert "% confidence" in shown[0] and 0.35 <= float(shown[1]) <= 1
            await tab.take_screenshot(pictures / "microphone.png")
            for name, give in {"sonnet1_06": tab.drop, "goforward": tab.choose}.items():
                await give(SPEECH / "flac" / f"{name}.flac")
                await tab.until(f"document.getElementById('results').textContent.trim() === '{spoken[name]}'")
                await tab.until("document.getElementById('state').textContent === 'Done'")
                assert (await tab.run("transcript('txt')")).split() == spoken[name].split()
                await tab.take_screenshot(pictures / f"{name}.png")
            assert await tab.run("document.getElementById('level').value") == 0
            for kind in ("srt", "vtt"):
                await tab.run(f"document.querySelector('[data-format={kind}]').click()")
            downloaded = await tab.downloaded()
            begin, end = re.findall(r"00:00:0(\d[,.]\d{3})", downloaded["transcript.srt"])
            assert downloaded["transcript.srt"] == f"1\n00:00:0{begin} --> 00:00:0{end}\n{spoken['goforward']}\n\n"
            assert downloaded["transcript.vtt"] == f"WEBVTT\n\n{downloaded['transcript.srt'][2:].replace(',', '.')}"
            assert await tab.text("error") == ""

    with serving(package) as (_, address):
        asyncio.run(asyncio.wait_for(visit(address), 200))


def test_memory_is_constant_during_silence(package: Path) -> None:
    """Digital silence and faint noise, sent as fast as the server accepts them, while a third stream is recognised."""
    rate, seconds = 16000, 30
    noise = 1e-4 * np.random.default_rng(0).normal(size=seconds * rate)
    silences = [np.zeros(seconds * rate, np.float32), noise.astype(np.float32)]
    speech, _ = soundfile.read(SPEECH / "flac" / "goforward.flac", dtype="float32")

    async def visit(server: psutil.Process, address: str) -> None:
        sizes: list[int] = []

        async def words(samples: np.ndarray, watch: bool = False) -> list[str]:
            """Return the texts of all events; record the memory of all processes after a third of the time."""
            texts = []
            async for event in recognize(address, np.split(samples, range(1600, len(samples), 1600)), rate):
                texts.append(event["text"])
                if watch and event["end"] > seconds / 3:
                    sizes.append(sum(one.memory_info().rss for one in [server, *server.children(recursive=True)]))
            return texts

        silent = [asyncio.create_task(words(samples, watch=True)) for samples in silences]
        assert (await words(speech))[-1] == transcripts()["goforward"]
        for texts in await asyncio.gather(*silent):
            assert seconds / 5 - 1 <= len(texts) <= seconds / 5 + 3, "every 5 s of silence end a segment"
            assert not any(texts[1:])
        before, after = sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :]
        assert min(after) - min(before) < 8 << 20, "no growth"

    with serving(package, "--search-beam", "10") as (process, address):
        asyncio.run(asyncio.wait_for(visit(psutil.Process(process.pid), address.replace("http", "ws")), 300))


def test_alignments_agree_with_pocketsphinx(trained: Trained, tmp_path: Path) -> None:
    """PocketSphinx shares only the pronunciations with this project."""
    folder, _ = trained
    result = augmem("align", "--exp", folder / "exp", "--part", PART, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"aligned 29 utterances, {fixture_words()} words" in result.stdout
    aligned: dict[str, list[TimedWord]] = {}
    for word in read_ctm(tmp_path / "words.ctm"):
        aligned.setdefault(word.recording, []).append(word)
    decoded = read_ctm(folder / "exp" / "score" / f"hyp-{PART}-first_pass.ctm")
    starts = {(word.recording, word.word, round(word.start, 2)) for words in aligned.values() for word in words}
    agreeing = [(word.recording, word.word, round(word.start, 2)) in starts for word in decoded]
    assert sum(agreeing) > 0.97 * fixture_words()  # the graph emits every third word after its start
    sphinx, gaps = Sphinx(Lang.load(folder / "exp" / "lang")), []
    experiment = Experiment.load(folder / "exp")
    for cut in load_cuts(experiment.features, [PART], in_memory=False):
        words = aligned[cut.id]
        expected = sphinx.align(cut.resample(16000).load_audio()[0], " ".join(word.word for word in words))
        if len(expected) == len(words):
            gaps += [abs(word.start - begin) for word, (begin, _) in zip(words, expected, strict=True)]
        grid = openTextgrid(str(tmp_path / f"{cut.id}.TextGrid"), includeEmptyIntervals=False)
        assert [entry.label for entry in grid.getTier("words").entries] == [word.word for word in words]
    assert len(gaps) > fixture_words() / 2
    assert median(gaps) < 0.1


def test_a_file_is_aligned_with_its_transcript(package: Path, tmp_path: Path) -> None:
    speech = tmp_path / "jfk.flac"
    shutil.copy(SPEECH / "flac" / "jfk.flac", speech)
    command = ["align", "--package", package, "--output", tmp_path / "out", speech]
    result = augmem(*command)
    assert result.returncode == 1
    assert "jfk.txt: no such file; it must have the transcript" in result.stderr
    speech.with_suffix(".txt").write_text("And so, my fellow Americans: ask not what your country can do for you!")
    result = augmem(*command)
    assert result.returncode == 0, result.stderr
    words = " ".join(word.word for word in read_ctm(tmp_path / "out" / "words.ctm"))
    assert words == "AND SO MY FELLOW AMERICANS ASK NOT WHAT YOUR COUNTRY CAN DO FOR YOU"
    speech.with_suffix(".txt").write_text("word " * 500)
    result = augmem(*command)
    assert result.returncode == 1
    assert "500 words do not fit into" in (tmp_path / "out" / "skipped.tsv").read_text()


def test_another_recipe_does_not_overwrite_a_training(trained: Trained) -> None:
    _, options = trained
    result = run_here(*options, "--training.epochs", "3", "--stop-stage", "train")
    assert result.returncode != 0
    assert "started with other inputs (changed: training.epochs: 90 before, 3 now)" in result.stderr
    assert "--exp" in result.stderr


@pytest.mark.parametrize("config", ["librispeech_100", "librispeech_960"])
def test_a_dry_run_of_the_large_recipes(config: str, tmp_path: Path) -> None:
    options = fixture_options(tmp_path)
    options[options.index("conf/fixture.yaml")] = f"conf/{config}.yaml"
    result = run_here(*options, "--dry-run")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    experiment = tmp_path / "exp-dry"
    assert (experiment / "report" / "report.html").exists()
    assert {row["utterances"] for row in json.loads((experiment / "score" / "summary.json").read_text())["scores"]} == {
        29
    }
    steps = [json.loads(line) for line in (experiment / "train" / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in steps) == 1


def test_help_lists_options() -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in ("--stage N", "--config FILE", "--corpus-dir", "--train PARTS", "--max-minutes", "--dry-run"):
        assert option in result.stdout
    assert "conf/mini_librispeech.yaml" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "nine"], "no stage 'nine'"),
        (["--bogus", "1"], "unknown option --bogus"),
        (["--config", "conf/mini.yaml"], "conf/mini.yaml is now conf/mini_librispeech.yaml"),
        (["--config", "conf/none.yaml"], "no recipe conf/none.yaml; choose one of: conf/"),
        (["--nj"], "--nj needs a value"),
    ],
)
def test_a_wrong_option_is_reported(options: list[str], message: str) -> None:
    result = run(*options)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--encoder.heads", "7"], "heads"),
        (["--processes", "3"], "training.accumulate is 2, which 3 processes cannot share equally"),
    ],
)
def test_a_wrong_recipe_value_is_reported(option: list[str], message: str, tmp_path: Path) -> None:
    result = run("--stage", "corpus", "--stop-stage", "corpus", "--exp", tmp_path / "exp", *option)
    assert result.returncode != 0
    assert message in result.stderr
    assert not (tmp_path / "exp").exists()
