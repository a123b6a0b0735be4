"""Who asks, and how: what the proxies in front of us say, where they are trusted."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from django.conf import settings

from runtime.http_request import (
    HOP_BY_HOP,
    REPLACED,
    Headers,
    RawHeaders,
    first,
    first_raw,
    is_host,
)


@dataclass(frozen=True)
class Origin:
    """Who asks, how and for which host, after the trusted proxies have had a say."""

    client: str
    scheme: str
    host: str


def origin_of(headers: Headers, peer: str, scheme: str) -> Origin:
    """Believe X-Forwarded-* only from an address in ZERVERLESS_TRUSTED_PROXIES."""
    host = first(headers, "host")
    if not settings.ZERVERLESS_TRUSTED_PROXIES or not _is_trusted(peer):
        return Origin(peer, scheme, host)
    proto = first(headers, "x-forwarded-proto").strip().lower()
    return Origin(
        _nearest_stranger(headers, peer),
        proto if proto in {"http", "https"} else scheme,
        _forwarded_host(first(headers, "x-forwarded-host"), host),
    )


def asked_host(raw: RawHeaders, peer: str) -> str:
    """The host of `origin_of`, and only that, of headers nobody has checked yet."""
    host = first_raw(raw, b"host")
    if not settings.ZERVERLESS_TRUSTED_PROXIES or not _is_trusted(peer):
        return host
    return _forwarded_host(first_raw(raw, b"x-forwarded-host"), host)


def _forwarded_host(forwarded: str, host: str) -> str:
    forwarded = forwarded.strip()
    return forwarded if is_host(forwarded) else host


def _nearest_stranger(headers: Headers, peer: str) -> str:
    """The last address of X-Forwarded-For that no trusted proxy of ours has."""
    chain = ",".join(value for name, value in headers if name == "x-forwarded-for")
    for hop in reversed([hop.strip() for hop in chain.split(",") if hop.strip()]):
        if not _is_address(hop):
            break
        peer = hop
        if not _is_trusted(hop):
            break
    return peer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(peer: str) -> bool:
    if not _is_address(peer):
        return False
    address = ip_address(peer)
    return any(address in network for network in settings.ZERVERLESS_TRUSTED_PROXIES)


def forwardable(headers: Headers, origin: Origin, request_id: str) -> Headers:
    """The headers to pass on: no hop-by-hop ones, X-Forwarded-* in our own words."""
    named = {
        name.strip().lower()
        for header, value in headers
        if header == "connection"
        for name in value.split(",")
    }
    dropped = HOP_BY_HOP | REPLACED | (named - {"host", "content-length"})
    kept = [item for item in headers if item[0] not in dropped]
    return [
        *kept,
        ("x-forwarded-for", origin.client),
        ("x-forwarded-host", origin.host),
        ("x-forwarded-proto", origin.scheme),
        ("x-request-id", request_id),
    ]
