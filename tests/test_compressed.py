"""Compressed files: recognised by content; those that expand without bound are refused in bounded memory."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lhotse.cut import Cut

from augmem.compressed import MAX_RATIO, open_compressed
from augmem.corpus.lhotse_data import read_manifest
from augmem.errors import UserError
from augmem.lang import read_arpa, read_lexicon
from augmem.skipped import SkipLog
from augmem.tables import read_table

FREE_SIZE = 1 << 17


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit, for speed."""
    monkeypatch.setattr("augmem.compressed.FREE_SIZE", FREE_SIZE)


def _xz(content: bytes) -> bytes:
    return lzma.compress(content, preset=0)  # of a small dictionary, which counts as memory


@pytest.mark.parametrize("compress", [bytes, gzip.compress, _xz])
def test_content_decides_about_the_format(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a").write_bytes(compress(b"one\ntwo"))
    with open_compressed(tmp_path / "a") as stream:
        assert stream.readlines() == [b"one\n", b"two"]


@pytest.mark.parametrize("compress", [gzip.compress, _xz])
def test_small_files_and_usual_ratios_are_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    zeros, numbers = bytes(FREE_SIZE), b"".join(b"%d\n" % number for number in range(60_000))
    for content in (zeros, numbers):
        (tmp_path / "a").write_bytes(compress(content))
        with open_compressed(tmp_path / "a") as stream:
            assert stream.read() == content
    assert len(numbers) > 2 * FREE_SIZE


def _lexicon(path: Path) -> Iterator[object]:
    yield read_lexicon(path)


def _model(path: Path) -> Iterator[object]:
    yield read_arpa(path)


READERS = {
    "table": lambda path: read_table(path, ("audio", "text")),
    "lexicon": _lexicon,
    "ARPA": _model,
}
STARTS = {"table": b"audio\ttext\n", "lexicon": b"ONE W AH N\n", "ARPA": b"\n\\data\\\nngram 1=3\n"}


@pytest.mark.parametrize("line", [b"a", b"   \n"], ids=["a line", "lines"])
@pytest.mark.parametrize("compress", [gzip.compress, _xz])
@pytest.mark.parametrize("kind", READERS)
def test_files_that_expand_without_bound_are_refused(
    kind: str, compress: Callable[[bytes], bytes], line: bytes, tmp_path: Path
) -> None:
    content = STARTS[kind] + line * (8 * FREE_SIZE // len(line))
    path = tmp_path / "mine.gz"
    path.write_bytes(compress(content))
    assert len(content) > MAX_RATIO * path.stat().st_size
    tracemalloc.start()
    with pytest.raises(UserError, match=r"mine\.gz: expands to over \d MB, more than 100 times its size; .*decompress"):
        list(READERS[kind](path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * FREE_SIZE


def test_manifests_that_expand_without_bound_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(b"[" * (8 * FREE_SIZE)))
    with pytest.raises(UserError, match=r"^\S*cuts\.jsonl\.gz: expands to over"):
        list(read_manifest(path, Cut, SkipLog()))
