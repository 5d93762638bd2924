"""The phonetisaurus wheel's command-line tools: Phonetisaurus (G2P) and MITLM (n-gram language models)."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from augmem.programs import run_program


def run_tool(name: str, *arguments: str | Path) -> str:
    """Run a tool and return its standard output.

    Raises:
        FileNotFoundError: the wheel is not installed or has no tool for this processor.
        ProgramError: the tool failed.
    """
    root = _wheel()
    command = [str(root / "bin" / platform.machine() / name), *map(str, arguments)]
    if not Path(command[0]).is_file():
        raise FileNotFoundError(
            f"{command[0]}: the phonetisaurus package has no {name} for {platform.machine()} processors; "
            "use an x86-64 machine, or give a lexicon of all words and ARPA files (lang.lexicon, lm.first_pass_arpa, "
            "lm.rescoring_arpa)"
        )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "lib" / platform.machine()), "LC_ALL": "C"}
    return run_program(command, environment=environment).decode()


def _wheel() -> Path:
    spec = find_spec("phonetisaurus")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the Python package phonetisaurus is not installed: pip install phonetisaurus")
    return Path(spec.origin).parent
