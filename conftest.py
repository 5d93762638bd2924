"""Fixtures of tests and of examples in docstrings."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a packaged model with random weights."""
    from tests.tiny import make_package

    return make_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Define the names that the example of `Recognizer` uses."""
    if request.node.name == "augmem.streaming.recognizer.Recognizer":
        from tests.tiny import noise

        names = request.getfixturevalue("doctest_namespace")
        names |= {"package": request.getfixturevalue("package"), "samples": noise(4.0, 1)}
