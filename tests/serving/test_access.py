"""Checks of Host, Origin and token."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from augmem.serving.access import check_host, check_origin_header, check_token

ALLOWED = ("https://asr.example.org",)


def request(path: str = "/", **headers: str) -> Request:
    return Request(path, Headers(**headers))


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("localhost:8765", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8765", True),
        ("[::1]:8765", True),
        ("192.168.1.7", True),
        ("asr.example.org", True),
        ("listening.example:8765", True),
        ("evil.example:8765", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_host_must_be_a_name_of_the_server(host: str, accepted: bool) -> None:
    assert (check_host(request(Host=host), "listening.example", ALLOWED) is None) == accepted


def test_two_host_headers_are_refused() -> None:
    assert (
        check_host(Request("/", Headers([("Host", "localhost"), ("Host", "evil.example")])), "localhost", ())
        is not None
    )


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        ("http://localhost:8765", True),
        ("https://asr.example.org", True),
        ("http://asr.example.org", False),
        ("http://localhost:9999", False),
        ("https://evil.example", False),
        ("https://localhost:8765.evil.example", False),
        ("http://[", False),
        ("null", False),
    ],
)
def test_origin_must_be_the_server_or_allowed(origin: str, accepted: bool) -> None:
    assert (check_origin_header(request(Host="localhost:8765", Origin=origin), ALLOWED) is None) == accepted


def test_clients_without_origin_and_any_origin() -> None:
    assert check_origin_header(request(Host="localhost"), ()) is None
    foreign = request(Host="evil.example", Origin="https://other.example")
    assert check_host(foreign, "localhost", ("*",)) is None and check_origin_header(foreign, ("*",)) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_of_the_token_in_any_case(scheme: str) -> None:
    assert check_token(request(Authorization=f"{scheme} secret"), "secret") is None
    assert check_token(request(Authorization=f"{scheme} other"), "secret") is not None


def test_token_in_the_query_or_missing() -> None:
    assert check_token(request("/?token=secret"), "secret") is None
    assert check_token(request("/?token=other", Authorization="Bearer secret"), "secret") is None
    for wrong in (
        request(),
        request("/?token="),
        request(Authorization="Basic secret"),
        request(Authorization="secret"),
    ):
        assert check_token(wrong, "secret") is not None
    assert check_token(request(), None) is None
