"""What others say, made harmless for a database, a terminal, a log and a page."""

from __future__ import annotations

import re

# Colours, cursor movements, OSC links: everything a terminal would act on. Bounded
# repetitions only, so that a hostile line costs linear time.
ANSI = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|[@-Z\\^_])"
)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def clean(text: str, length: int) -> str:
    """`text` without terminal codes, NUL, surrogates and controls; tabs and line ends
    stay."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", ANSI.sub("", whole))[:length]
