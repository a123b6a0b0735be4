"""Platform errors as RFC 9457 problem documents, or the same content as HTML.

Every platform error carries `X-Zerverless-Error` with its stable code (docs/errors.md);
an answer of a function never does, so the two can always be told apart. The text says
nothing about images, engines, traces, or whether a namespace exists.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from http import HTTPStatus

from runtime.errors import InvocationError, MethodNotAllowed

Headers = list[tuple[str, str]]

_RETRYABLE = frozenset({408, 429, 503})
# One file for all: a page of an error must need nothing that may be failing as well.
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2128; --muted: #57606a;
  --line: #d8dee4; --panel: #f6f8fa; --accent: #a40e26 }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3;
  --muted: #9da7b3; --line: #2b323b; --panel: #161b22; --accent: #ff8b84 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; align-content: center;
  background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { width: 100%; max-width: 40rem; margin: auto; padding: 2rem 1.25rem }
.status { margin: 0; font-weight: 600; color: var(--accent) }
h1 { margin: .25rem 0 .75rem; font-size: 1.75rem; line-height: 1.25 }
p { margin: 0 0 1rem; max-width: 60ch }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .25rem 1rem;
  margin: 1.5rem 0 0; padding: .875rem 1rem; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; font-size: .875rem }
dt { color: var(--muted) }
dd { margin: 0 }
code { font-family: ui-monospace, Menlo, Consolas, monospace; user-select: all }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} {title}</title><style>{style}</style></head>
<body><main><p class="status">Error {status}</p><h1>{title}</h1>
<p>{detail}</p>
<dl><dt>Code</dt><dd><code>{code}</code></dd>
<dt>Request</dt><dd><code>{request_id}</code></dd></dl></main></body></html>
"""
# Nothing is loaded and no script runs; the one style is known by its digest.
_DIGEST = b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Problem:
    """One platform error, ready to be answered. `retry_after` is in seconds."""

    status: int
    code: str
    title: str
    detail: str
    retry_after: int | None = None
    allow: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: InvocationError) -> Problem:
        """The documented answer to an error of the family in runtime/errors.py."""
        allow = error.allowed if isinstance(error, MethodNotAllowed) else ()
        return cls(
            error.status,
            error.code,
            error.title,
            error.message,
            error.retry_after,
            allow,
        )

    @classmethod
    def unexpected(cls) -> Problem:
        """Our own fault; the log has the traceback under the request id."""
        detail = "The gateway could not handle this request. It has been logged."
        return cls(500, "ZV500", HTTPStatus(500).phrase, detail)

    def render(self, request_id: str, accept: str = "") -> tuple[Headers, bytes]:
        """Headers and body, in the form the Accept header prefers."""
        if prefers_html(accept):
            kind, body = "text/html; charset=utf-8", self._html(request_id)
        else:
            kind, body = "application/problem+json", self._json(request_id)
        headers = [
            ("content-type", kind),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("content-security-policy", _POLICY),
            ("x-content-type-options", "nosniff"),
            ("vary", "accept"),
            ("x-zerverless-error", self.code),
        ]
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        if self.allow:
            headers.append(("allow", ", ".join(self.allow)))
        return headers, body

    def _json(self, request_id: str) -> bytes:
        document = {
            "type": f"urn:zerverless:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "retryable": self.status in _RETRYABLE,
        }
        return json.dumps(document).encode()

    def _html(self, request_id: str) -> bytes:
        return _PAGE.format(
            style=_STYLE,
            status=self.status,
            code=escape(self.code),
            title=escape(self.title),
            detail=escape(self.detail),
            request_id=escape(request_id),
        ).encode()


def prefers_html(accept: str) -> bool:
    """Whether an Accept header ranks HTML above JSON; a tie and `*/*` mean JSON."""
    html = json_like = 0.0
    for item in accept.split(","):
        kind, _, parameters = item.strip().lower().partition(";")
        if kind.strip() in {"text/html", "application/xhtml+xml"}:
            html = max(html, _quality(parameters))
        elif kind.strip() in {"application/json", "application/problem+json"}:
            json_like = max(json_like, _quality(parameters))
    return html > json_like


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value.partition(";")[0])
    except ValueError:
        return 0.0
