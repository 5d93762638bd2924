"""The phonetisaurus wheel's command-line tools: Phonetisaurus (G2P) and MITLM (n-gram language models)."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path

logger = logging.getLogger(__name__)


def run_tool(name: str, *arguments: str | Path) -> str:
    """Run a tool and return its standard output; its standard error is logged at level debug.

    Raises:
        FileNotFoundError: the wheel is not installed or has no tool for this processor.
        RuntimeError: the tool failed; the message has the command and the end of its log.
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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    logger.debug("%s\n%s", " ".join(command), done.stderr)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-5:])
        raise RuntimeError(f"{' '.join(command)}\nfailed with exit code {done.returncode}:\n{tail}")
    return done.stdout


def _wheel() -> Path:
    spec = find_spec("phonetisaurus")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the Python package phonetisaurus is not installed: pip install phonetisaurus")
    return Path(spec.origin).parent
