"""The documentation agrees with the program: commands, options, messages and public names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import augmem
from augmem import cli
from augmem.renamed_options import RENAMED
from local.options import options, page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
OPTIONS = {option.name for option in options(augmem.Recipe)}


def test_the_table_of_options_is_current() -> None:
    assert TEXTS["options.md"] == page(), "run .venv/bin/python -m local.options >docs/options.md"


@pytest.mark.parametrize("name", TEXTS)
def test_every_option_of_a_recipe_exists(name: str) -> None:
    named = set(re.findall(r"--([a-z_]+\.[a-z_.]*[a-z_])", TEXTS[name]))
    assert named <= OPTIONS | set(RENAMED)


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_exists(name: str) -> None:
    code = "\n".join(re.findall(r"```.*?```|^    .*$|`[^`\n]+`", TEXTS[name], re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"(?:^ *|`|bin/)augmem ([a-z][a-z-]*)", code, re.MULTILINE))
    assert named <= {*cli.TOOLS, *cli.STAGE_COMMANDS, "recipe"}


def test_every_option_of_run_sh_exists() -> None:
    usage = (ROOT / "run.sh").read_text(encoding="utf-8")
    for name, text in TEXTS.items():
        for command in re.findall(r"(?:\./run\.sh|augmem run)((?: [^`#\n]*\\\n)*[^`#\n]*)", text):
            named = re.findall(r"(--[a-z][a-z-]*)(?![\w.-])", command)
            assert not [option for option in named if option not in usage], name


def test_every_message_of_the_troubleshooting_page_exists() -> None:
    files = [*(ROOT / "augmem").rglob("*.py"), *(ROOT / "local").glob("*.sh")]
    program = " ".join(path.read_text(encoding="utf-8") for path in files)
    messages = re.findall(r"^### `(.*)`$", TEXTS["troubleshooting.md"], re.MULTILINE)
    assert len(messages) > 10
    assert not [part for message in messages for part in message.split("...") if part.strip() not in program]


def test_every_public_name_is_in_the_reference() -> None:
    documented = re.findall(r"^::: augmem\.(\w+)\.(\w+)$", TEXTS["api.md"], re.MULTILINE)
    assert sorted(documented) == sorted((module, name) for module, names in augmem.PUBLIC.items() for name in names)


def test_every_page_is_in_the_table_of_contents_and_every_link_has_a_target() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = {page for entry in config["nav"] for section in entry.values() for page in pages_of(section)}
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path}: {target}"


def pages_of(section: str | list[dict[str, str]]) -> list[str]:
    return [section] if isinstance(section, str) else [page for entry in section for page in entry.values()]
