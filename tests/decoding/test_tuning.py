"""Scales tuned on the dev parts, and n-best files."""

from __future__ import annotations

import gzip
import json
import logging
from dataclasses import replace
from pathlib import Path

import jiwer
import pytest

from augmem.decoding import (
    DecodingConfig,
    Scales,
    UtteranceKey,
    load_systems,
    oracle_wer,
    read_system_outputs,
    tune,
)
from augmem.decoding.records import Hypothesis, NbestEntry, read_nbest, write_nbest
from augmem.errors import UserError

CONFIG = DecodingConfig(
    nbest=8, max_duration=3.0, acoustic_scale=1.0, output_beam=10.0, nbest_beam=10.0, nbest_tokens=2000
)


Listed = list[tuple[str, float, float, float]]  # words, am, lm of the first pass, lm rescored


def write_lists(decode_dir: Path, part: str, *entries: tuple[str, Listed]) -> dict[UtteranceKey, tuple[str, ...]]:
    """Write an n-best file; return the references."""
    keys = [UtteranceKey(part, str(n)) for n in range(len(entries))]
    write_nbest(
        decode_dir / part,
        [
            NbestEntry(
                key,
                1.0,
                "normal",
                1.0,
                {
                    system: tuple(
                        Hypothesis(tuple(words.split()), am, scores[place], tuple((0.0, 1.0) for _ in words.split()))
                        for words, am, *scores in listed
                    )
                    for place, system in enumerate(("first_pass", "rescored"))
                },
            )
            for key, (_, listed) in zip(keys, entries, strict=True)
        ],
    )
    return {key: tuple(reference.split()) for key, (reference, _) in zip(keys, entries, strict=True)}


DEV = (
    ("A B", [("A", -10.1, -2.0, -9.0), ("A B", -9.0, -4.03, -1.0), ("C", -30.0, -1.0, -0.57)]),
    ("C", [("C D", -5.0, -5.0, -3.0), ("C", -6.47, -3.9, -3.1)]),
    ("D E F", []),
)


def test_tuning_finds_the_best_point_of_the_grid(tmp_path: Path) -> None:
    references = write_lists(tmp_path, "dev", *DEV)
    config = DecodingConfig(lm_scales=(0.0, 0.5, 1.0, 2.0), word_insertion_bonuses=(-3.0, 0.0, 3.0))
    result = json.loads(tune(tmp_path, ["dev"], references, config).read_text())
    entries = list(read_nbest(tmp_path, "dev"))
    for system in ("first_pass", "rescored"):
        sweep = result["systems"][system]["sweep"]
        assert len(sweep) == 12
        for point in sweep:
            best = []
            for entry in entries:
                scored = [
                    (
                        h.am + point["lm_scale"] * h.lm + point["word_insertion_bonus"] * len(h.words),
                        " ".join(h.words),
                    )
                    for h in entry.lists[system]
                ]
                best.append(max(scored)[1] if scored else "")
            assert point["wer"] == pytest.approx(jiwer.wer([reference for reference, _ in DEV], best))
        assert result["systems"][system]["wer"] == min(point["wer"] for point in sweep)
    assert result["words"] == 6 and result["oracle_wer"] == pytest.approx(3 / 6)  # the empty list has three deletions
    assert oracle_wer(entries, references) == pytest.approx(3 / 6)

    systems = load_systems(tmp_path / "tuned.json")
    assert systems["mbr"] == replace(systems["rescored"], minimum_risk=True)
    for name, system in systems.items():
        found = read_system_outputs(tmp_path, "dev", system)
        assert [transcript.key for transcript in found] == list(references) and found[2].words == ()
        errors = jiwer.wer([reference for reference, _ in DEV], [" ".join(t.words) for t in found])
        assert errors == pytest.approx(result["systems"][name]["wer"])
        assert all(len(t.times) == len(t.confidences) == len(t.words) for t in found)


def test_tuning_reads_only_dev(tmp_path: Path) -> None:
    """An unreadable test part has no effect."""
    references = write_lists(tmp_path, "dev", *DEV)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "nbest.jsonl.gz").write_bytes(b"not to be read")
    (tmp_path / "test" / "nbest.jsonl.gz").chmod(0)
    tuned = json.loads(tune(tmp_path, ["dev"], references, DecodingConfig()).read_text())
    assert tuned["parts"] == ["dev"] and set(tuned["systems"]) == {"first_pass", "rescored", "mbr"}


def test_tuning_refuses_missing_dev_parts_and_empty_transcripts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dev part to tune on"):
        tune(tmp_path, [], {}, DecodingConfig())
    with pytest.raises(FileNotFoundError, match="has not been decoded"):
        tune(tmp_path, ["dev"], {}, DecodingConfig())
    references = write_lists(tmp_path, "dev", ("", [("A", -1.0, -1.0, -1.0)]))
    with pytest.raises(UserError, match="have no word"):
        tune(tmp_path, ["dev"], references, DecodingConfig())
    with pytest.raises(FileNotFoundError, match="have not been tuned"):
        load_systems(tmp_path / "tuned.json")
    (tmp_path / "tuned.json").write_text('{"systems": {"first_pass": {"lm_scale": 1.0}}}')
    with pytest.raises(UserError, match=r"tuned\.json: field 'nbest_list' is missing"):
        load_systems(tmp_path / "tuned.json")


def test_scales_of_the_last_release_are_read() -> None:
    old = {"lm_scale": 1.4, "insertion_penalty": 0.5, "posterior_scale": 0.2}
    assert Scales.from_json(old) == Scales(1.4, 0.5, 0.2)


def test_a_best_point_at_the_edge_of_the_grid_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    references = write_lists(tmp_path, "dev", ("A", [("B", 0.0, -5.0, -5.0), ("A", -9.0, 0.0, 0.0)]))
    config = DecodingConfig(lm_scales=(0.5, 1.0, 2.0), word_insertion_bonuses=(0.0,))
    with caplog.at_level(logging.WARNING):
        tune(tmp_path, ["dev"], references, config)
    assert "the best lm_scale, 2, is at the edge of its grid: widen decoding.lm_scales" in caplog.text


def test_nbest_files_are_read_back_and_errors_name_the_line(tmp_path: Path) -> None:
    write_lists(tmp_path, "dev", *DEV)
    entries = list(read_nbest(tmp_path, "dev"))
    write_nbest(tmp_path / "again" / "dev", entries)
    assert list(read_nbest(tmp_path / "again", "dev")) == entries
    path = tmp_path / "dev" / "nbest.jsonl.gz"
    assert (tmp_path / "again" / "dev" / "nbest.jsonl.gz").read_bytes() == path.read_bytes()
    with gzip.open(path, "at") as stream:
        stream.write('{"id": "x"}\n')
    with pytest.raises(UserError, match=r"nbest.jsonl.gz:4: not an n-best line"):
        list(read_nbest(tmp_path, "dev"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"nbest.jsonl.gz: damaged or incomplete \(.+\); run stage decode again"):
        list(read_nbest(tmp_path, "dev"))
