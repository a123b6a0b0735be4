"""Manifests written to harm: no side effect, no escape of exceptions, no waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from applications.compose import SIZE_MAX
from applications.errors import ManifestError, Problem
from applications.manifest import parse
from tests.fixtures.manifests import FULL, ORIGINAL, problems, with_function

SECONDS = 2.0  # of processor time; the slowest takes about a fifth of it
MEMORY = 64 << 20  # bytes


@contextmanager
def cheap() -> Iterator[None]:
    """Fails when the block takes more processor time than any manifest may."""
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system",
        "!!python/object/new:subprocess.Popen",
        "!!python/name:os.system",
        "!!python/module:os",
        "!<tag:yaml.org,2002:python/object/apply:os.system>",
        "!!str",
        "!env",
        "!",
    ],
)
def test_no_tag_is_taken(tag: str, tmp_path: Path) -> None:
    """Threat 1."""
    canary = tmp_path / "canary"
    for value in (f'["touch {canary}"]', f'"touch {canary}"', "{}"):
        found = problems(with_function(f"x-a: {tag} {value}"))
        assert any("8:12: spec.functions[0].x-a: Forbidden: tags" in f for f in found)
    assert not canary.exists()


def test_a_tag_on_a_key_or_with_a_handle_of_its_own_is_refused() -> None:
    """Threat 1."""
    text = "%TAG !p! tag:yaml.org,2002:python/\n---\n!p!name:os.system a: b\n"
    assert any("Forbidden: tags" in line for line in problems(text))


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("env: &a {A: b}", "8:12: spec.functions[0].env: "),
        ("x-a: [&a 1, *a]", "8:13: spec.functions[0].x-a[0]: "),
        ("contentType: *none", "8:20: spec.functions[0].contentType: "),
        ("x-a: {<<: {A: b}}", "8:13: spec.functions[0].x-a.<<: "),
        ("<<: [{cpu: 1}]", "8:7: spec.functions[0].<<: "),
        ("x-a: &a [*a]", "8:12: spec.functions[0].x-a: "),
        ("&a cpu: 1", "8:7: spec.functions[0].cpu: "),
    ],
)
def test_anchors_aliases_and_merge_keys_are_refused(line: str, place: str) -> None:
    """Threat 2."""
    assert problems(with_function(line))[0].startswith(f"{place}Forbidden: ")


def alias_bomb() -> str:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    return "\n".join(rows)


def merge_bomb() -> str:
    rows = ["a0: &a0 {k: v}"]
    rows += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    return "\n".join(rows)


@pytest.mark.parametrize("bomb", [alias_bomb(), merge_bomb()], ids=["alias", "merge"])
def test_a_bomb_does_not_go_off(bomb: str) -> None:
    """Threat 2: quickly refused, and in little memory."""
    tracemalloc.start()
    try:
        with cheap():
            assert any("Forbidden: anchors" in line for line in problems(bomb))
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


MEASURED = """
import resource, sys, time
from applications.manifest import parse
from applications.errors import ManifestError
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    parse(sys.stdin.buffer.read(), namespace="a", repo_url="https://b/c", branch="d")
except ManifestError:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown, time.monotonic() - began)
"""


@pytest.mark.parametrize("bomb", [alias_bomb(), merge_bomb()], ids=["alias", "merge"])
def test_a_bomb_costs_a_process_neither_memory_nor_time(bomb: str) -> None:
    """Threat 2: as the kernel counts it."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        input=bomb.encode(),
        capture_output=True,
        check=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "zerverless_site.settings"},
    )
    grown, seconds = map(float, done.stdout.split())
    assert grown * 1024 < MEMORY
    assert seconds < 1


@pytest.mark.parametrize(
    "data",
    [
        b"a: 2026-99-99",
        b"a: 2026-01-01 99:99:99",
        b"a: " + b"9" * 5000,
        b"a: 0b" + b"1" * 5000,
        b"a: " + b"1:" * 4000 + b"1",
        b"%YAML 1." + b"9" * 5000 + b"\n---\na: b",
        b'a: "\\UFFFFFFFF"',
        b'a: "\\x',
        b"%TAG ! tag:x,2026:\n",
        b"? ",
        b"a: |9999\n x",
        b"a: !<%FF%FF> b",
        b"- - [{? : ",
        b"\xef\xbb\xbf\xef\xbb\xbf",
    ],
)
def test_what_makes_other_readers_fall_is_an_ordinary_problem(data: bytes) -> None:
    """Threat 3: no exception but ManifestError leaves."""
    assert problems(data)


DEEP = {
    "flow sequences": "[" * SIZE_MAX,
    "closed sequences": "[" * 60_000 + "]" * 60_000,
    "flow mappings": "{a: " * 30_000,
    "block sequences": "- " * 60_000,
    "block mappings": "\n".join(" " * n + "a:" for n in range(500)),
    "one level a line": "[\n" * 60_000,
    "complex keys": "? " * 60_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_depth_is_refused_before_it_can_exhaust_a_stack(text: str) -> None:
    """Threat 3."""
    with cheap():
        (line,) = problems(text[:SIZE_MAX])
    assert "nested deeper than 16 levels" in line or "a key must be text" in line


def test_what_is_needed_fits_into_the_depth() -> None:
    deep = "[" * 12 + "]" * 12
    assert not problems(with_function(f"x-a: {deep}"))


MANY = {
    "ten thousand functions": "spec: {functions: [" + "{}," * 9_900 + "]}",
    "more functions": ORIGINAL + "    - {path: /a, runtime: docker}\n" * 10_000,
    "a million keys": "".join(f"k{number}: 1\n" for number in range(1_000_000)),
    "many keys": "".join(f"k{number}: 1\n" for number in range(4_900)),
    "unknown keys": with_function(*(f"contexxt{n}: 1" for n in range(4_800))),
    "long unknown keys": with_function(
        *(f"{n}{'contextt' * 6}: 1" for n in range(1_900))
    ),
    "environment": with_function(
        f"env: {{{','.join(f'{n}: a' for n in range(4_800))}}}"
    ),
    "methods": with_function(f"methods: [{','.join(f'M{n}' for n in range(9_000))}]"),
    "one path": ORIGINAL + "    - {path: /api, runtime: docker}\n" * 1_900,
    "a key again and again": "a: 1\n" * 4_900,
    "tags": "[" + "!!str x," * 9_000 + "]",
    "anchors": "[" + "&a x," * 9_000 + "]",
    "a long text": "a: " + "x" * (1 << 20),
    "a long quoted text": 'a: "' + "\\u0041" * 20_000 + '"',
    "a long path": with_function().replace("/api", "/" + "a" * 100_000),
    "many lines": "a: |\n" + " x\n" * 40_000,
    "folded lines": "a: >\n" + " x\n\n" * 30_000,
    "comments": "# a comment\n" * 10_000,
    "empty lines": "\n" * SIZE_MAX,
    "numbers": "[" + "1," * 60_000 + "]",
}


@pytest.mark.parametrize("text", MANY.values(), ids=MANY.keys())
def test_a_great_many_of_anything_is_refused_in_time(text: str) -> None:
    """Threat 11: an error in less than two seconds, and not one line per mistake."""
    with cheap():
        found = problems(text)
    assert 1 <= len(found) <= 101
    assert all(len(line) < 500 for line in found)


def test_how_many_problems_are_left_out_is_said() -> None:
    found = problems("a: 1\n" * 201)
    assert len(found) == 101
    assert found[-1].endswith("and 105 more problems")


def test_size_is_checked_before_anything_is_read() -> None:
    """Threat 4."""
    filler = "# " + "x" * 60 + "\n"
    text = ORIGINAL + filler * ((SIZE_MAX - len(ORIGINAL)) // len(filler))
    assert not problems(text)
    assert problems(text + filler) == ["1:1: Too long: a manifest may have 128 KiB"]


def only_manifest_errors(data: bytes) -> None:
    found: list[Problem] = []
    try:
        parse(data, namespace="alice", repo_url="https://a.example/b", branch="main")
    except ManifestError as error:
        found = error.problems or [Problem("", 0, 0, "", "there should be one")]
    for problem in found:
        assert problem.line >= 1
        assert problem.column >= 1
        assert str(problem).isprintable()


@settings(max_examples=400, deadline=2000)
@given(st.binary(max_size=400))
@example(b"\0")
@example(b"\xff")
@example(b": ? - [ ]")
def test_bytes_are_parsed_or_refused(data: bytes) -> None:
    """Threat 3."""
    only_manifest_errors(data)


YAML_MARKS = st.sampled_from(
    [*"\n\t :-?,[]{}&*!|>'\"%@`#<~0", "\r\n", "a", "- ", ": ", "<<", "---", "...", "\\"]
)


@settings(max_examples=600, deadline=2000)
@given(st.lists(YAML_MARKS, max_size=80).map("".join))
def test_marks_of_yaml_in_any_order_are_parsed_or_refused(text: str) -> None:
    """Threat 3."""
    only_manifest_errors(text.encode())


@settings(max_examples=600, deadline=2000)
@given(st.data())
def test_a_good_manifest_with_a_hole_is_parsed_or_refused(data: st.DataObject) -> None:
    """Threat 3: what a typing error or a cut-off file can leave behind."""
    at = data.draw(st.integers(0, len(FULL)))
    until = data.draw(st.integers(at, min(len(FULL), at + 40)))
    middle = data.draw(st.one_of(st.text(max_size=10), YAML_MARKS))
    only_manifest_errors((FULL[:at] + middle + FULL[until:]).encode())
