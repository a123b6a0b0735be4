"""The environment a request becomes: CGI/1.1 (RFC 3875), INPUT_* and ours. Pure.

What a client sends can only end up under a fixed prefix (`HTTP_`, `INPUT_`) or in a
variable of fixed name, so no header or field can become `PATH` or `LD_PRELOAD`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from runtime import cookies, strict_json
from runtime.errors import BadRequest, HeadersTooLarge, UriTooLong

# Linux refuses an argument list over a quarter of the stack, and one variable over
# 128 KiB; and a function pays for every byte at every start.
TOTAL_MAX = 64 * 1024
FIELDS_MAX = 1000
_FIELD_NAME_MAX = 128
_FORM = "application/x-www-form-urlencoded"
_PARTS = "multipart/form-data"
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})')
_PART_NAME = re.compile(rb'(?i)\r\ncontent-disposition:[^\r\n]*[ ;]name="([^"\r\n]*)"')
# `Proxy:` would become HTTP_PROXY, which HTTP clients believe (httpoxy). The two that
# describe the body have CGI names of their own; the rest is between two hops only.
_NOT_PASSED = frozenset(
    """
    proxy content-type content-length connection keep-alive proxy-authenticate
    proxy-authorization proxy-connection te trailer transfer-encoding upgrade
    """.split()  # noqa: SIM905
)
_HEADER = re.compile(r"[a-z0-9-]+\Z")  # an underscore could pass for a hyphen
_RESERVED = re.compile(
    r"(HTTP_|INPUT_|ZERVERLESS_)|(AUTH_TYPE|CONTENT_LENGTH|CONTENT_TYPE|"
    r"GATEWAY_INTERFACE|HTTPS|PATH_INFO|PATH_TRANSLATED|QUERY_STRING|REMOTE_ADDR|"
    r"REMOTE_HOST|REMOTE_IDENT|REMOTE_USER|REQUEST_METHOD|REQUEST_SCHEME|REQUEST_URI|"
    r"SCRIPT_NAME|SERVER_NAME|SERVER_PORT|SERVER_PROTOCOL|SERVER_SOFTWARE)\Z"
)
Headers = Iterable[tuple[str, str]]


def is_reserved(name: str) -> bool:
    """Whether a variable of this name is the platform's, set or not."""
    return _RESERVED.match(name) is not None


def request_environment(
    *,
    method: str,
    uri: str,
    script_name: str,
    path_info: str,
    query: str,
    headers: Headers,
    body: bytes,
    client: str,
    scheme: str,
    host: str,
    http_version: str,
) -> dict[str, str]:
    """The variables of one request.

    Raises BadRequest, UriTooLong (414) and HeadersTooLarge (431).
    """
    headers = list(headers)
    content_type = next((v for name, v in headers if name == "content-type"), "")
    address = {
        "REQUEST_URI": f"{uri}?{query}" if query else uri,
        "PATH_INFO": path_info,
        "QUERY_STRING": query,
        **_inputs(_query_fields(query)),
    }
    meta = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Zerverless",
        "SERVER_PROTOCOL": f"HTTP/{http_version}",
        **_server(host, scheme),
        "REMOTE_ADDR": client,
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": script_name,
        **_content(content_type, body),
        **_header_variables(headers),
    }
    result = {**address, **meta}
    _check(result, address, meta)
    if not _has_fields(content_type):
        return result
    # A larger body cannot fit, so it is not even parsed.
    small = len(body) <= TOTAL_MAX
    fields = _inputs(_body_fields(content_type, body)) if small else {}
    if small and _size(result) + _size(fields) <= TOTAL_MAX:
        return {**fields, **result}
    # Standard input still has all of it; half of the fields would be worse than none.
    return {**result, "ZERVERLESS_INPUT_OMITTED": "1"}


def _check(
    result: Mapping[str, str], address: Mapping[str, str], meta: Mapping[str, str]
) -> None:
    if any("\0" in value for value in result.values()):
        raise BadRequest("The request holds a NUL character.")
    if _size(result) <= TOTAL_MAX:
        return
    limit = f"the limit is {TOTAL_MAX // 1024} KiB"
    if _size(address) > _size(meta):
        raise UriTooLong(f"Path and query are too long for an environment: {limit}.")
    raise HeadersTooLarge(f"The headers are too large for an environment: {limit}.")


def _size(variables: Mapping[str, str]) -> int:
    return sum(
        len(name) + len(value.encode("utf-8", "surrogatepass")) + 2
        for name, value in variables.items()
    )


def _content(content_type: str, body: bytes) -> dict[str, str]:
    """Set only with a body, as RFC 3875 has it: programs read them as a number."""
    result = {"CONTENT_TYPE": _text(content_type)} if content_type else {}
    return {**result, "CONTENT_LENGTH": str(len(body))} if body else result


def _server(host: str, scheme: str) -> dict[str, str]:
    name, _, port = host.rpartition(":")
    if not name or not port.isdigit():
        name, port = host, "443" if scheme == "https" else "80"
    result = {"SERVER_NAME": name, "SERVER_PORT": port, "REQUEST_SCHEME": scheme}
    return {**result, "HTTPS": "on"} if scheme == "https" else result


def _header_variables(headers: Headers) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in headers:
        if name in _NOT_PASSED or not _HEADER.match(name):
            continue
        if name == "cookie":
            value = cookies.without_ours(value)
            if not value:
                continue
        variable = "HTTP_" + name.upper().replace("-", "_")
        joint = "; " if name == "cookie" else ", "
        text = _text(value)
        result[variable] = (
            f"{result[variable]}{joint}{text}" if variable in result else text
        )
    return result


def _text(value: str) -> str:
    """A header value as text: its bytes are latin-1 by RFC 9110, UTF-8 in practice."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


Fields = list[tuple[str, str]]


def _query_fields(query: str) -> Fields:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadRequest(f"The query has more than {FIELDS_MAX} fields.") from None


def _has_fields(content_type: str) -> bool:
    kind = _kind(content_type)
    return kind in {_FORM, _PARTS, "application/json"} or kind.endswith("+json")


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _body_fields(content_type: str, body: bytes) -> Fields:
    """The fields of a form, or the flat ones of a JSON object."""
    try:
        if _kind(content_type) == _FORM:
            text = body.decode("utf-8", "replace")
            return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
        if _kind(content_type) == _PARTS:
            return _part_fields(content_type, body)
        return _json_fields(body)
    except (ValueError, RecursionError):
        return []  # not what it says it is; the function gets it as it came


def _part_fields(content_type: str, body: bytes) -> Fields:
    """The text fields of a multipart form (RFC 7578); files are left to the body."""
    boundary = _BOUNDARY.search(content_type)
    if not boundary:
        return []
    mark = b"\r\n--" + boundary[1].encode("utf-8", "replace")
    fields: Fields = []
    for part in (b"\r\n" + body).split(mark, FIELDS_MAX + 1)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if name and b"filename" not in head.lower():
            pair = name[1].decode("utf-8", "replace"), value.decode("utf-8", "replace")
            fields.append(pair)
    return fields


def _json_fields(body: bytes) -> Fields:
    data = strict_json.loads(body)
    if not isinstance(data, dict):
        return []
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in data.items()
        if isinstance(value, str | int | float | bool)
    ]


def _inputs(fields: Fields) -> dict[str, str]:
    """`INPUT_<NAME>`; of several of one name the first counts.

    A value that no environment can hold (NUL, a lone surrogate) is left out.
    """
    result: dict[str, str] = {}
    for name, value in fields:
        variable = "INPUT_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())
        if not name or len(name) > _FIELD_NAME_MAX or "\0" in value:
            continue
        if variable not in result and _is_utf8(value):
            result[variable] = value
    return result


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
