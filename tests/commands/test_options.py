"""Options made from dataclasses, and those of the search."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from augmem.commands import serve
from augmem.commands.options import SEARCH_OPTIONS, add_search_options, change_search
from augmem.commands.serve import TOKEN_VARIABLE, read_config
from augmem.decoding import SearchConfig
from augmem.errors import UserError
from augmem.serving import ServerConfig


def test_options_of_serve_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    assert read_config(parser.parse_args(["--package", "model"])) == ServerConfig()
    given = ["--package", "model", "--max-buffered", "3", "--allow-origin", "https://a.org", "https://b.org"]
    changed = ServerConfig(max_buffered=3.0, allow_origin=("https://a.org", "https://b.org"))
    assert read_config(parser.parse_args(given)) == changed
    assert all(f"--{option.name.replace('_', '-')}" in parser.format_help() for option in fields(ServerConfig))


def test_token_of_serve_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    assert read_config(parser.parse_args(["--package", "model"])).token == "secret"
    file = tmp_path / "token"
    file.write_text("of-a-file\n")
    options = ["--package", "model", "--token-file", str(file)]
    assert read_config(parser.parse_args(options)).token == "of-a-file"
    file.write_text("two\nlines\n")
    with pytest.raises(UserError, match="token: must have one line"):
        read_config(parser.parse_args(options))
    with pytest.raises(UserError, match="token: other users can read it in the process list"):
        read_config(parser.parse_args(["--package", "model", "--token", "secret"]))


def test_search_options_change_only_given_values() -> None:
    parser = argparse.ArgumentParser()
    add_search_options(parser, "the package")
    base = SearchConfig(search_beam=11.0, nbest=7)
    assert {option.name for option in fields(SearchConfig)} >= set(SEARCH_OPTIONS)
    assert change_search(parser.parse_args([]), base) == base
    changed = change_search(parser.parse_args(["--max-active", "3000"]), base)
    assert changed == SearchConfig(search_beam=11.0, nbest=7, max_active=3000)
    with pytest.raises(UserError, match="search_beam"):
        change_search(parser.parse_args(["--search-beam", "-1"]), base)
