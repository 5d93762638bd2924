"""Word errors of any two transcripts; expected counts are those of sclite and csrfilt of Debian's sctk 2.4.10."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import jiwer
import pytest

from augmem.cli import parse_and_run
from augmem.errors import UserError
from augmem.scoring import Counts, Utterance, WordErrors, read_transcript
from augmem.scoring.alternatives import build_network, split_alternatives
from augmem.scoring.glm import GlobalMap

SCLITE = shutil.which("sclite", path="/usr/lib/sctk/bin") or shutil.which("sclite")
STM = """\
;; comment
rec1 A spk1 0.00 2.00 <o,f0,male> HELLO THERE MY FRIEND
rec1 A spk1 3.00 5.00 <o,f0,male> { HOW ARE / HOW'RE / @ } YOU (UH) DOING
rec1 A spk2 5.00 6.00 <o,f0,male> IGNORE_TIME_SEGMENT_IN_SCORING
rec1 A spk2 6.00 8.00 <o,f0,male> FINE T- THANKS
"""
CTM = """\
rec1 1 0.10 0.30 hello 0.9
rec1 1 0.50 0.30 there 0.9
rec1 1 1.00 0.30 my 0.9
rec1 1 2.20 0.30 gap 0.9
rec1 1 3.10 0.10 how're
rec1 1 3.20 0.10 you
rec1 1 3.50 0.10 doing
rec1 1 5.50 0.10 ignored
rec1 1 6.50 0.10 find
rec1 1 6.70 0.10 thanks
rec1 1 9.70 0.10 late
"""
GLM = """\
;; rules
* name "e"
* case_sensitive = 'F'
CAUSE => BECAUSE ;; inside words too
MR => MISTER / [ ] __ [ ]
UH => %HESITATION / [ ] __ [ ]
[[SILENCE]] => @ / [ ] __ [ ]
;; INPUT_DEPENDENT_APPLICATION = "hyp"
[I'D] => [{I HAD / I WOULD}] / [ ] __ [ ]
"""


def write(folder: Path, **texts: str) -> list[Path]:
    """Write files whose names have _ for the point before the suffix."""
    paths = [folder / name.replace("_", ".") for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def errors(ref: Path, hyp: Path, rules: WordErrors | None = None) -> list[Utterance]:
    return (rules or WordErrors())(read_transcript(ref), read_transcript(hyp))


def total(utterances: list[Utterance]) -> Counts:
    return sum((utterance.counts for utterance in utterances), Counts())


def random_trn(folder: Path, number: int) -> tuple[Path, Path]:
    """Random words of four, so that many alignments have equal costs."""
    rng = random.Random(1)
    lines: tuple[list[str], list[str]] = ([], [])
    for i in range(number):
        lengths = rng.randint(1, 12), rng.randint(0, 12)
        for side, length in zip(lines, lengths, strict=True):
            side.append(" ".join(rng.choice("ABCD") for _ in range(length)) + f" (s-{i:05})\n")
    ref, hyp = write(folder, ref_trn="".join(lines[0]), hyp_trn="".join(lines[1]))
    return ref, hyp


def test_counts_of_trn_files_equal_those_of_sclite(tmp_path: Path) -> None:
    utterances = errors(*random_trn(tmp_path, 3000))
    assert total(utterances) == Counts(hits=7651, substitutions=3768, deletions=7866, insertions=6538)


@pytest.mark.skipif(SCLITE is None, reason="sclite is not installed: apt-get install sctk")
def test_every_utterance_has_the_counts_of_sclite(tmp_path: Path) -> None:
    ref, hyp = random_trn(tmp_path, 500)
    command = [str(SCLITE), "-i", "spu_id", "-r", ref, "trn", "-h", hyp, "trn", "-o", "pralign", "stdout"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"id: \((\S+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", printed)
    expected = {name: Counts(*map(int, counts)) for name, *counts in found}
    assert {utterance.id: utterance.counts for utterance in errors(ref, hyp)} == expected


def test_words_of_a_ctm_file_belong_to_segments_of_an_stm_file(tmp_path: Path) -> None:
    """Words between two segments belong to the later one, those of an ignored segment are not scored."""
    first, second, third = errors(*write(tmp_path, ref_stm=STM, hyp_ctm=CTM))
    assert [first.counts, second.counts, third.counts] == [
        Counts(3, 0, 1, 0), Counts(3, 0, 1, 1), Counts(1, 1, 1, 1)
    ]  # fmt: skip
    assert second.ref == ["how're", "you", "(uh)", "doing"]
    assert (first.speaker, third.speaker, third.session) == ("spk1", "spk2", "rec1")


@pytest.mark.parametrize(
    ("ref", "hyp", "expected"),
    [
        ("x {A B/C D} y", "x c d y", Counts(4)),
        ("{ A / B C / @ } d", "d", Counts(1)),
        ("d e { @ / u }", "d e", Counts(2)),
        ("a/b c", "a/b c", Counts(2)),
        ("(uh) hel-", "uh hel-", Counts(1, 1)),
        ("I would go", "{I had / I would} go", Counts(3)),
        ("{ a { b / c } / d }", "a c", Counts(2)),
        ("B { A B / D D } { @ / B B } C", "D D B D", Counts(2, 1, 2, 0) + Counts(1, 0, 0, 0)),
    ],
)
def test_alternatives_are_chosen_as_by_sclite(tmp_path: Path, ref: str, hyp: str, expected: Counts) -> None:
    (utterance,) = errors(*write(tmp_path, ref_trn=f"{ref} (s-1)", hyp_trn=f"{hyp} (s-1)"))
    assert utterance.counts == expected


def test_counts_of_text_files_are_the_fewest_edits(tmp_path: Path) -> None:
    ref, hyp = random_trn(tmp_path, 200)
    sides = []
    for path in (ref, hyp):
        rows = [line.rsplit("(", 1) for line in path.read_text().splitlines()]
        sides.append([words.strip() for words, _ in rows])
        path.with_suffix(".text").write_text("".join(f"{name.strip(')')} {words}\n" for words, name in rows))
    found = total(errors(ref.with_suffix(".text"), hyp.with_suffix(".text")))
    expected = jiwer.process_words(*sides)
    assert found.errors == expected.substitutions + expected.deletions + expected.insertions
    assert found.errors < total(errors(ref, hyp)).errors  # costs of sclite


def test_transcripts_of_other_formats_are_paired_by_recording(tmp_path: Path) -> None:
    stm, ctm, text = write(tmp_path, ref_stm=STM, hyp_ctm=CTM, hyp_text="rec1 hello there my friend how're you doing\n")
    assert total(errors(stm, text)).insertions == 0
    assert total(errors(ctm, text)) == Counts(6, 1, 4, 0)
    two = STM + "rec1 B spk3 0 1 OTHER\n"
    (tmp_path / "other.ctm").write_text(CTM.replace("rec1 1", "rec1 A"))
    (tmp_path / "two.stm").write_text(two)
    with pytest.raises(UserError, match=r"other.ctm: 1 of 2 of .*two.stm are missing: rec1 channel 2; --mode all"):
        errors(tmp_path / "two.stm", tmp_path / "other.ctm")
    assert total(errors(tmp_path / "two.stm", tmp_path / "other.ctm", WordErrors(mode="all"))).words == 12
    assert total(errors(tmp_path / "two.stm", tmp_path / "other.ctm", WordErrors(mode="present"))).words == 11


def test_alternatives_of_a_ctm_file_are_read(tmp_path: Path) -> None:
    ctm = "r 1 * * <ALT_BEGIN>\nr 1 1 1 I\nr 1 2 1 HAD\nr 1 * * <ALT>\nr 1 1 1 I'D\nr 1 * * <ALT_END>\nr 1 3 1 GO\n"
    assert total(errors(*write(tmp_path, ref_stm="r 1 s 0 9 I'D GO", hyp_ctm=ctm))) == Counts(2)
    with pytest.raises(UserError, match=r"hyp\.ctm: <ALT_BEGIN> of r without <ALT_END>"):
        errors(*write(tmp_path, ref_stm="r 1 s 0 9 I'D GO", hyp_ctm=ctm[:40]))


def test_a_glm_rewrites_texts_as_csrfilt_does(tmp_path: Path) -> None:
    (glm,) = write(tmp_path, e_glm=GLM)
    text = "mr uh causeway I'd go [silence] uh uh mr"
    expected = "MISTER %HESITATION BECAUSEWAY {I HAD / I WOULD} GO @ %HESITATION %HESITATION MISTER"
    assert GlobalMap(glm, "trn", "hyp")(text).upper() == expected
    assert GlobalMap(glm, "trn", "ref")("I'd go") == "I'd go"  # the section is for hypotheses
    rules = WordErrors(glm=glm)
    assert total(errors(*write(tmp_path, ref_text="u I WOULD GO", hyp_text="u i'd go uh"), rules)) == Counts(3, 0, 0, 1)
    for line, message in (("A B", "expected PATTERN"), ("* copy_no_hit = 'F'", "deletes all text")):
        glm.write_text(f";;\n{line}\n")
        with pytest.raises(UserError, match=rf"e\.glm:2: .*{message}"):
            GlobalMap(glm)


def test_normalisation_keeps_alternatives(tmp_path: Path) -> None:
    rules = WordErrors(normalise=lambda text: text.upper().replace(".", ""))
    paths = write(tmp_path, ref_trn="{ mr. / mister } b. (s-1)", hyp_trn="MISTER B (s-1)")
    assert total(errors(*paths, rules)) == Counts(2)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.trn", "no id", r"a\.trn:1: expected words \(utterance\)"),
        ("a.trn", "one (u-1)\ntwo (u-1)", r"a\.trn:2: utterance u-1 occurs twice"),
        ("a.text", "u one\nu two", r"a\.text:2: utterance u occurs twice"),
        ("a.stm", "r 1 s 0", r"a\.stm:1: expected recording channel speaker"),
        ("a.stm", "r 1 s 2 1 WORDS", r"a\.stm:1: the end 1 is before the start 2"),
        ("a.ctm", "r 1 x 1 word", r"a\.ctm:1: 'x' is not a time"),
        ("a.ctm", ";; nothing", r"a\.ctm: no line of format ctm"),
        ("a.ctm", "r 1 0 1", r"a\.ctm:1: expected recording channel start duration word"),
    ],
)
def test_malformed_lines_are_reported_with_their_number(tmp_path: Path, name: str, line: str, message: str) -> None:
    (tmp_path / name).write_text(line)
    with pytest.raises(UserError, match=message):
        read_transcript(tmp_path / name)


def test_braces_must_match() -> None:
    for text, message in (("a } b", "} without {"), ("a { b", "{ without }")):
        with pytest.raises(UserError, match=message):
            build_network(split_alternatives(text), "f.trn, u")


def test_the_command_prints_the_wer_and_a_paired_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = {f"u{i:02}": "A GOOD SENTENCE" for i in range(40)}
    worse = {name: text.replace("GOOD", "BAD") if name < "u20" else text for name, text in sentences.items()}
    ref, a, b = write(
        tmp_path,
        **{
            name: "".join(f"{utterance} {text}\n" for utterance, text in texts.items())
            for name, texts in {"ref_text": sentences, "a_text": worse, "b_text": sentences}.items()
        },
    )
    assert parse_and_run(["wer", str(ref), str(a), str(b), "--output", str(tmp_path / "out"), "--speakers"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"a\.text\s+16\.67 .* 20 +120 ", printed) and re.search(r"b\.text\s+0\.00", printed)
    assert "alignment of kaldi" in printed and "\nsignificant at the 5 % level" in printed
    assert (tmp_path / "out" / "errs-ref.text-a.text.txt").is_file()
    for options, message in (
        ([a, b, a], "3 hypotheses: give one, or two"),
        ([a, "--language", "de"], "--language needs --normalisation unicode"),
    ):
        with pytest.raises(UserError, match=message):
            parse_and_run(["wer", str(ref), *map(str, options)])
    trn, two = write(tmp_path, r_trn="{ A / B } (s-1)", h_trn="a (s-1)"), write(tmp_path, i_trn="b (s-1)")
    assert parse_and_run(["wer", *map(str, [*trn, *two])]) == 0
    assert "no paired test: utterance s-1" in capsys.readouterr().out
