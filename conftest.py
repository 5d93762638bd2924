"""Fixtures of tests and of examples in docstrings."""

import signal
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from augmem.machine import prepare_libraries

prepare_libraries()  # before torch and numpy are imported
# A shell ignores SIGINT in its background jobs, and processes started by tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


EXAMPLES_OF_RECOGNITION = {
    "augmem.streaming.package.Package",
    "augmem.streaming.package.open_package",
    "augmem.streaming.recognizer.Recognizer",
    "augmem.streaming.stream.Stream",
}


class SkipWithoutK2:
    """Skips what imports k2 where k2 is not installed: a test file, a fixture with its tests, or a single test."""

    def find_spec(self, name: str, *arguments: object) -> None:
        """Skip the running test if it imports k2; all other modules are left to the other finders."""
        if name in ("k2", "_k2"):
            pytest.skip("needs k2, which is not installed", allow_module_level=True)


if PathFinder.find_spec("k2") is None:
    sys.meta_path.insert(0, SkipWithoutK2())


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a packaged model with random weights."""
    from tests.tiny import make_package

    return make_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Define the names that examples of recognition use."""
    if request.node.name in EXAMPLES_OF_RECOGNITION:
        from tests.tiny import noise

        names = request.getfixturevalue("doctest_namespace")
        names |= {"package": request.getfixturevalue("package"), "samples": noise(4.0, 1)}
