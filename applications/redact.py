"""Takes credentials out of text before it is stored, shown or logged.

Git repeats the URL in its errors, percent-encoded or not, and servers repeat what they
were sent; so every form of the same secret is looked for, not only the one we wrote.
"""

from __future__ import annotations

import re

_SECRETS = re.compile(
    r"""(?ix)
    # userinfo of a URL, up to its last @; the same percent-encoded
      ( :// ) [^/\s"'<>]+ (?= @ )
    | ( %3A%2F%2F ) (?: (?! %2F | %3F ) [^/\s"'<>] )+ (?= %40 )
    # parameters: access_token=, private_token=, %3D for =
    | ( (?: token | secret | password | passwd | api_?key | signature ) (?: = | %3D ) )
      (?: (?! %26 ) [^&\s"'<>] )+
    # headers, also as git's http.extraHeader prints them
    | ( authorization \s* [:=] \s* (?: (?: basic | bearer | token ) \s+ )? )
      [^\s"']+
    | ( \b (?: private-token | x-api-key ) \s* : \s* ) \S+
    | ( \b (?: basic | bearer ) \s+ ) (?= \S* [0-9+/=._-] ) [A-Za-z0-9+/=._~-]{12,}
    # tokens that can be told by their beginning (GitHub, GitLab)
    | ( \b (?: gh[opsur]_ | github_pat_ | glpat- ) ) [A-Za-z0-9_-]{10,}
    """
)

# One of these is in every text the pattern matches. Nearly no line has one, and looking
# for them takes a twentieth of the pattern's time: every line of the log comes here.
_SIGNS = (
    "://",
    "%3a%2f%2f",
    "token",
    "secret",
    "passw",
    "apikey",
    "api_key",
    "api-key",
    "signature",
    "authorization",
    "basic",
    "bearer",
    *(f"gh{kind}_" for kind in "opsur"),
    "github_pat_",
    "glpat-",
)


def redact(text: str) -> str:
    """`text` with every credential replaced by `***`."""
    folded = text.casefold()
    if not any(sign in folded for sign in _SIGNS):
        return text
    return _SECRETS.sub(lambda m: next(filter(None, m.groups()), "") + "***", text)
