"""Stages run once, atomically, and again only if an input has changed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.stage_runner import Options, check_outputs, fingerprint, is_done, run_resumable_stage, run_stage


def writer(calls: list[str], text: str = "result"):
    def action(folder: Path) -> None:
        calls.append(text)
        (folder / "result.txt").write_text(text)

    return action


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        run_stage("toy", tmp_path / "out", {"value": 1}, writer(calls))
    assert calls == ["result"]


def test_changed_inputs_replace_the_whole_result(tmp_path: Path) -> None:
    calls: list[str] = []
    output = tmp_path / "out"
    run_stage("toy", output, {"value": 1}, writer(calls, "old"))
    (output / "leftover").write_text("belongs to the old result")
    before = fingerprint(output)
    run_stage("toy", output, {"value": 2}, writer(calls, "new"))
    assert calls == ["old", "new"]
    assert fingerprint(output) != before
    assert {path.name for path in output.iterdir()} == {"result.txt", ".done"}


def test_a_failed_stage_leaves_nothing_and_keeps_the_old_result(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_stage("toy", output, {"value": 1}, writer([], "old"))

    def fail(folder: Path) -> None:
        (folder / "result.txt").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        run_stage("toy", output, {"value": 2}, fail)
    assert (output / "result.txt").read_text() == "old"
    assert is_done(output, {"value": 1})
    assert not list(tmp_path.glob("*partial*")) and not list(tmp_path.glob(".out.partial*"))


def test_a_killed_stage_restarts_and_removes_temporary_folders(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from augmem.stage_runner import run_stage

        def slow(folder):
            (folder / "result.txt").write_text("half")
            print("begun", flush=True)
            time.sleep(60)

        run_stage("toy", Path({str(tmp_path / "out")!r}), {{"value": 1}}, slow)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        os.kill(process.pid, signal.SIGKILL)
    assert list(tmp_path.glob(".out.partial-*")), "the kill came before the rename"
    run_stage("toy", tmp_path / "out", {"value": 1}, writer([]))
    assert (tmp_path / "out" / "result.txt").read_text() == "result"
    assert not list(tmp_path.glob(".out.partial-*"))


def test_a_second_process_cannot_write_to_the_same_folder(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from augmem.stage_runner import only_run_in

        with only_run_in(Path({str(tmp_path / "out")!r})):
            print("inside", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"inside\n"
        with pytest.raises(BlockingIOError, match="another process is writing"):
            run_stage("toy", tmp_path / "out", {}, writer([]))
        process.kill()
    time.sleep(0.05)
    run_stage("toy", tmp_path / "out", {}, writer([]))


def test_an_incomplete_stage_resumes(tmp_path: Path) -> None:
    def count(folder: Path) -> bool:
        steps = folder / "steps"
        steps.write_text(steps.read_text() + "x" if steps.exists() else "x")
        return len(steps.read_text()) == 2

    output = tmp_path / "out"
    assert not run_resumable_stage("toy", output, {"value": 1}, count, ["steps"])
    assert run_resumable_stage("toy", output, {"value": 1}, count, ["steps"])
    assert run_resumable_stage("toy", output, {"value": 1}, count, ["steps"]), "complete: not run a third time"
    assert (output / "steps").read_text() == "xx"


def test_an_incomplete_stage_refuses_other_inputs_and_names_them(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_resumable_stage("train", output, {"lang": "a", "epochs": 3}, lambda folder: False, [])
    with pytest.raises(UserError, match=r"train was started with other inputs \(changed: lang\).*--exp"):
        run_resumable_stage("train", output, {"lang": "b", "epochs": 3}, lambda folder: True, [])


def test_the_fingerprint_of_an_incomplete_stage_names_the_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the stage that writes it first"):
        fingerprint(tmp_path / "out")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_a_stage_with_missing_or_changed_outputs_is_run_again(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    output = tmp_path / "out"
    for _ in range(2):
        run_stage("toy", output, {"value": 1}, writer(calls))
        damage(output / "result.txt")
    assert len(calls) == 2
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{output / 'result.txt'}: {message(damage)}; {output} is made again"]


def message(damage: Callable[[Path], None]) -> str:
    return "missing" if damage is Path.unlink else "changed since it was written (its sha256 is not the recorded one)"


def test_a_resumable_stage_with_missing_results_is_run_again(tmp_path: Path) -> None:
    output = tmp_path / "out"

    def action(folder: Path) -> bool:
        (folder / "model").write_text("weights")
        (folder / "checkpoint").write_text("optimiser")
        return True

    assert run_resumable_stage("train", output, {"value": 1}, action, ["model"])
    (output / "checkpoint").unlink()
    assert is_done(output, {"value": 1}), "checkpoints may be removed after training"
    (output / "model").unlink()
    assert run_resumable_stage("train", output, {"value": 1}, action, ["model"])
    assert (output / "model").read_text() == "weights"


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_a_stage_does_not_read_damaged_outputs_of_another(damage: Callable[[Path], None], tmp_path: Path) -> None:
    words = tmp_path / "lang"
    calls: list[str] = []
    run_stage("lang", words, {}, write_both)
    damage(words / "deep" / "lexicon.txt")
    expected = rf"^{words}/deep/lexicon.txt: {re.escape(message(damage))}; run stage lang again, which restores it$"
    with pytest.raises(UserError, match=expected):
        run_stage("graphs", tmp_path / "graphs", {}, writer(calls), reads=[words])
    with pytest.raises(UserError, match=expected):
        check_outputs(words / "deep" / "lexicon.txt")
    assert not calls and not (tmp_path / "graphs").exists()
    run_stage("graphs", tmp_path / "graphs", {}, writer(calls), reads=[words / "words.txt"])
    assert calls == ["result"]


def write_both(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "lexicon.txt").write_text("ONE W AH N\n")
    (folder / "words.txt").write_text("ONE 1\n")


def training(**values: object) -> dict[str, Options]:
    return {"training": Options(values, dict.fromkeys(values, 0) | {"batches": {"seed": 5}})}


def test_a_refused_resume_names_each_option_with_both_values(tmp_path: Path) -> None:
    output = tmp_path / "train"
    run_resumable_stage("train", output, training(epochs=3, batches={"seed": 0}), lambda folder: False, [])
    with pytest.raises(
        UserError, match=r"changed: training\.epochs: 3 before, 4 now; training\.batches\.seed: 0 before, 1"
    ):
        run_resumable_stage("train", output, training(epochs=4, batches={"seed": 1}), lambda folder: True, [])


def test_new_options_at_their_default_and_removed_options_do_not_forbid_a_resume(tmp_path: Path) -> None:
    output = tmp_path / "train"
    run_resumable_stage("train", output, training(epochs=3, removed=1, batches={}), lambda folder: False, [])
    assert run_resumable_stage("train", output, training(epochs=3, boost=0, batches={"seed": 5}), lambda _: True, [])
    assert is_done(output, training(epochs=3, batches={"seed": 5}))
    assert not is_done(output, training(epochs=3, boost=1, batches={"seed": 5}))
