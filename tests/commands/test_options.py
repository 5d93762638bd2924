"""Options made from dataclasses, and those of the search."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from augmem.commands import serve
from augmem.commands.options import SEARCH_OPTIONS, add_search_options, change_search, read_dataclass_options
from augmem.decoding import SearchConfig
from augmem.errors import UserError
from augmem.serving import ServerConfig


def test_options_of_serve_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUGMEM_TOKEN", raising=False)
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    arguments = parser.parse_args(["--package", "model"])
    assert ServerConfig(**read_dataclass_options(arguments, ServerConfig)) == ServerConfig()
    arguments = parser.parse_args(["--package", "model", "--max-buffered", "3", "--token", "secret"])
    changed = ServerConfig(**read_dataclass_options(arguments, ServerConfig))
    assert changed == ServerConfig(max_buffered=3.0, token="secret")
    assert all(f"--{option.name.replace('_', '-')}" in parser.format_help() for option in fields(ServerConfig))


def test_token_of_serve_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMEM_TOKEN", "secret")
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    assert parser.parse_args(["--package", "model"]).token == "secret"


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
