"""Downloads from a local server with OpenSLR's layout: complete, interrupted, damaged, refused."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from augmem.corpus.download import download_part, find_downloaded
from augmem.corpus.librispeech import LibriSpeech
from augmem.errors import UserError
from augmem.skipped import SkipLog
from tests.corpus.corpora import PART

MINI = "train-clean-5"


class Server(BaseHTTPRequestHandler):
    """Serves archives, with range requests; interrupts the first response if `interrupt_first` is set."""

    archives: ClassVar[dict[str, bytes]]
    requests: ClassVar[list[str]]
    interrupt_first: ClassVar[bool]

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.requests.append(f"{self.path} from {start}")
        content = self.archives.get(self.path)
        if content is None:
            return self.send_error(404)
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        interrupted = self.interrupt_first and len(self.requests) == 1
        self.wfile.write(content[start : len(content) // 2 if interrupted else None])
        return None

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(tree: Path, tmp_path: Path) -> Iterator[str]:
    """Address of a server that has train-clean-5."""
    archive = tmp_path / "part.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree / PART, f"LibriSpeech/{MINI}")
    Server.archives, Server.requests = {f"/31/{MINI}.tar.gz": archive.read_bytes()}, []
    Server.interrupt_first = False
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def flacs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.flac")}


def test_part_that_is_neither_in_the_tree_nor_carried_is_downloaded_once(
    server: str, tree: Path, tmp_path: Path
) -> None:
    Server.archives = {f"/12/{name}.tar.gz": Server.archives[f"/31/{MINI}.tar.gz"] for name in ("dev-clean",)}
    corpus = LibriSpeech(tree, tmp_path / "down", server=server)
    with pytest.raises(UserError, match="dev-other"):
        list(corpus.utterances("dev-other", SkipLog()))
    assert Server.requests == ["/12/dev-other.tar.gz from 0"]


def test_downloaded_part_equals_the_archive(server: str, tree: Path, tmp_path: Path) -> None:
    folder = download_part(MINI, tmp_path / "down", server)
    assert folder == find_downloaded(MINI, tmp_path / "down")
    assert flacs(folder) == flacs(tree / PART)
    download_part(MINI, tmp_path / "down", server)
    assert Server.requests == [f"/31/{MINI}.tar.gz from 0"]


def test_interrupted_download_resumes(server: str, tree: Path, tmp_path: Path) -> None:
    Server.interrupt_first = True
    with pytest.raises(UserError, match=rf"{MINI}\.tar\.gz: truncated or damaged .* run again to fetch the rest"):
        download_part(MINI, tmp_path / "down", server)
    assert not (tmp_path / "down" / "LibriSpeech" / MINI).exists()
    folder = download_part(MINI, tmp_path / "down", server)
    half = len(Server.archives[f"/31/{MINI}.tar.gz"]) // 2
    assert Server.requests == [f"/31/{MINI}.tar.gz from 0", f"/31/{MINI}.tar.gz from {half}"]
    assert flacs(folder) == flacs(tree / PART)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_damaged_archive_is_named_and_leaves_no_part(server: str, tmp_path: Path, place: float) -> None:
    content = bytearray(Server.archives[f"/31/{MINI}.tar.gz"])
    begin = min(int(place * len(content)), len(content) - 8)
    content[begin : begin + 8] = bytes(byte ^ 0xFF for byte in content[begin : begin + 8])
    Server.archives = {f"/31/{MINI}.tar.gz": bytes(content)}
    for _ in range(2):  # the second time nothing is left to fetch
        with pytest.raises(UserError, match=rf"{MINI}\.tar\.gz: truncated or damaged .* delete it and run again"):
            download_part(MINI, tmp_path / "down", server)
        assert not (tmp_path / "down" / "LibriSpeech" / MINI).exists()


@pytest.mark.parametrize("reason", ["HTTP Error 404", "refused"])
def test_failed_download_names_the_remedy_and_leaves_no_files(server: str, tmp_path: Path, reason: str) -> None:
    Server.archives = {}
    address = server if reason.startswith("HTTP") else "http://127.0.0.1:9"
    with pytest.raises(UserError, match=rf"could not download {MINI} from .*{reason}.*openslr\.org/12.*--corpus-dir"):
        download_part(MINI, tmp_path / "down", address)
    assert [path for path in (tmp_path / "down").rglob("*") if path.is_file()] == []
