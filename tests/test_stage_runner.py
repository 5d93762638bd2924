"""Stages run once, atomically, and again only if an input has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.stage_runner import fingerprint, is_done, run_resumable_stage, run_stage


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
    assert not run_resumable_stage("toy", output, {"value": 1}, count)
    assert run_resumable_stage("toy", output, {"value": 1}, count)
    assert run_resumable_stage("toy", output, {"value": 1}, count), "complete: not run a third time"
    assert (output / "steps").read_text() == "xx"


def test_an_incomplete_stage_refuses_other_inputs_and_names_them(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_resumable_stage("train", output, {"lang": "a", "epochs": 3}, lambda folder: False)
    with pytest.raises(UserError, match=r"train was started with other inputs \(changed: lang\).*--exp"):
        run_resumable_stage("train", output, {"lang": "b", "epochs": 3}, lambda folder: True)


def test_the_fingerprint_of_an_incomplete_stage_names_the_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the stage that writes it first"):
        fingerprint(tmp_path / "out")
