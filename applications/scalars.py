"""Reads unquoted scalars as YAML 1.2 does, so that nothing turns into something else.

YAML 1.1, which PyYAML follows, makes `no` and `on` booleans, `017` fifteen, `1:30`
ninety and `2026-01-01` a date. Here they are text as written, and numbers are decimal.
"""

from __future__ import annotations

import re
from typing import Any

from yaml import ScalarNode
from yaml.resolver import Resolver

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# 18 digits: a longer one is no number anyone means, and int() refuses 4,300 of them.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_DECIMAL = re.compile(
    r"[-+]?([0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18}(?=[eE]))"
    r"([eE][-+]?[0-9]{1,2})?\Z"
)
_old_rules = Resolver()


def plain(text: str) -> Any:
    """An unquoted scalar by YAML 1.2's core schema, decimal numbers only."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _DECIMAL.match(text) else text


def differs_in_yaml_1_1(text: str) -> bool:
    """Whether an older reader takes this text for a boolean, a number or a date."""
    tag = _old_rules.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return bool(tag != "tag:yaml.org,2002:str")
