"""Checks of the HTTP request that opens a connection, and the security headers of responses.

A browser runs pages of foreign sites, which may open a websocket to any server that the user's machine reaches: its
Origin header names the site, and is checked. A foreign site may also let its own name resolve to the server's address
(DNS rebinding), which makes it the same origin: therefore the Host header must be an address or a name of this server.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request

from augmem.serving.config import ANY_ORIGIN

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the address may contain the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Denial(NamedTuple):
    """The status and the reason of a refused request."""

    status: HTTPStatus
    reason: str


def check_host(request: Request, host: str, allowed: Collection[str]) -> Denial | None:
    """Refuse a request whose Host header is neither an IP address nor a name of this server.

    Args:
        request: the request.
        host: the host that the server listens on.
        allowed: allowed origins; their hosts are names of this server too.
    """
    given = header(request.headers, "Host")
    if ANY_ORIGIN in allowed or is_own_name(host_name(f"//{given}"), host, allowed):
        return None
    return Denial(HTTPStatus.FORBIDDEN, f"Host {given!r}: not a name of this server; see --allow-origin")


def check_origin_header(request: Request, allowed: Collection[str]) -> Denial | None:
    """Refuse a websocket that the page of another site opens; clients other than browsers send no Origin.

    Args:
        request: the request, whose Host header has been checked.
        allowed: allowed origins other than the server's own.
    """
    origin = header(request.headers, "Origin")
    if not origin or origin in allowed or ANY_ORIGIN in allowed:
        return None
    if origin.partition("://")[2].lower() == header(request.headers, "Host").lower():
        return None
    return Denial(HTTPStatus.FORBIDDEN, f"Origin {origin!r}: not allowed to open a stream; see --allow-origin")


def check_token(request: Request, token: str | None) -> Denial | None:
    """Refuse a request without the token, which is in its Authorization header or its query."""
    if token is None or any(hmac.compare_digest(given.encode(), token.encode()) for given in request_tokens(request)):
        return None
    return Denial(HTTPStatus.UNAUTHORIZED, "wrong or missing token")


def request_tokens(request: Request) -> list[str]:
    """Return the tokens of a request; the name of the scheme, Bearer, is case-insensitive (RFC 9110, 11.1)."""
    scheme, _, credentials = header(request.headers, "Authorization").partition(" ")
    query = parse_qs(urlsplit(request.path).query).get("token", [])
    return query + [credentials.strip()] * (scheme.lower() == "bearer")


def header(headers: Headers, name: str) -> str:
    """Return the value of a header, "" without it; several are joined, so that they equal no valid value."""
    return ", ".join(headers.get_all(name)).strip()


def host_name(address: str) -> str:
    """Return the host of an address, in lower case and without port and brackets; "" if it is not an address."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:  # brackets without an IPv6 address
        return ""


def is_own_name(name: str, host: str, allowed: Collection[str]) -> bool:
    """Return whether a host name belongs to this server; foreign sites control names but no IP addresses."""
    own = {"localhost", host.lower(), socket.gethostname().lower(), *map(host_name, allowed)}
    return name != "" and (name in own or name.endswith(".localhost") or is_ip_address(name))


def is_ip_address(name: str) -> bool:
    """Return whether a host is an IP address.

    Example:
        >>> [is_ip_address(name) for name in ("127.0.0.1", "::1", "example.org")]
        [True, True, False]
    """
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
