"""The console command: help without torch, and errors without tracebacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from augmem import cli
from augmem.errors import UserError


def augmem(*words: str) -> int:
    """Run the command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["augmem", *words])
        return cli.main()


OTHERS = ["torch", "k2", "lhotse", "websockets", "distributed", "kaldialign", "matplotlib", "jinja2", "psutil"]


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["train", "--help"]])
def test_help_needs_no_package_of_an_extra(words: list[str]) -> None:
    script = f"""
import sys
sys.modules.update(dict.fromkeys({OTHERS}))
sys.argv = ["augmem", *{words}]
from augmem.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "usage: augmem" in result.stdout


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        augmem("--help")
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"\n    {name}" in printed for name in (*cli.STAGE_COMMANDS, *cli.TOOLS, "recipe"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--exp", "exp/A", "--bogus", "3"], "unrecognized arguments: --bogus 3"),
        (["recipe", "--exp", "exp/A", "--training.bogus", "3"], "unrecognized arguments: --training.bogus 3"),
        (["features"], "required: features.exp"),
    ],
)
def test_wrong_options_are_reported_with_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = augmem(*words)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("error", [UserError("mine.tsv:3: no text"), FileNotFoundError("mine.tsv:3: no text")])
def test_an_error_of_the_user_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert augmem("lang", "--exp", "exp/A") == 1
    assert capsys.readouterr().err == "augmem lang: mine.tsv:3: no text\n"
    with pytest.raises(type(error)):
        augmem("--traceback", "lang", "--exp", "exp/A")


def raising(error: BaseException) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise error

    return fail


def test_an_interrupted_command_has_status_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run", raising(KeyboardInterrupt()))
    assert augmem("lang", "--exp", "exp/A") == 130
    assert capsys.readouterr().err == "augmem lang: interrupted\n"


MEMORY = [
    MemoryError(),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB\n(GPU 0)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:66] . DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", MEMORY)
def test_lack_of_memory_is_one_line_with_a_remedy(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run", raising(error))
    assert augmem("train", "--exp", "exp/A") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("augmem train: out of memory (") and "max_duration" in line


def test_a_missing_library_is_reported_with_the_extra_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("No module named 'distributed'", name="distributed")))
    assert augmem("lang", "--exp", "exp/A") == 1
    expected = "augmem lang: No module named 'distributed'; pip install 'augmem[cluster]'\n"
    assert capsys.readouterr().err == expected
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("No module named 'augmem.none'", name="augmem.none")))
    with pytest.raises(ModuleNotFoundError):
        augmem("lang", "--exp", "exp/A")


def test_a_bug_has_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise AssertionError("unreachable")

    monkeypatch.setattr(cli, "run", fail)
    with pytest.raises(AssertionError):
        augmem("lang", "--exp", "exp/A")
