"""What a build prints, made fit for a database, a log and a page."""

from __future__ import annotations

import pytest

from builds.lines import LINE_MAX, Splitter, clean, quoted, telling


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        ("tab\there", "tab\there"),
        ("10%\r55%\r100%", "100%"),
        ("done\r", "done"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\text", "text"),
        ("nul\0 and bell\a", "nul and bell"),
        ("half \ud800 a pair", "half  a pair"),
        ("\x9b31mC1", "31mC1"),
        ("é ☃", "é ☃"),
        ("<b>", "<b>"),
    ],
)
def test_a_line_is_cleaned(raw: str, text: str) -> None:
    """Threat 49."""
    assert clean(raw) == text


def test_a_long_line_is_cut_and_says_so() -> None:
    """Threat 49."""
    assert clean("x" * 10_000) == "x" * LINE_MAX + " [line cut]"


def split(*chunks: bytes) -> list[str]:
    splitter = Splitter()
    return [line for c in chunks for line in splitter.feed(c)] + list(splitter.end())


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a", b"b\nc"], ["ab", "c"]),
        ([b"\n\n"], ["", ""]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"bad \xff\xfe\n"], ["bad \ufffd\ufffd"]),
        ([], []),
    ],
)
def test_bytes_become_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert split(*chunks) == lines


def test_a_line_without_an_end_costs_no_memory() -> None:
    """Threat 44."""
    splitter = Splitter()
    for _ in range(10_000):
        assert list(splitter.feed(b"x" * 65536)) == []
    assert len(splitter._rest) <= 2 * LINE_MAX
    (line,) = splitter.end()
    assert line == "x" * LINE_MAX + " [line cut]"


def test_the_line_after_a_cut_one_is_whole() -> None:
    assert split(b"x" * 20_000, b"y\nnext\n")[1] == "next"


NODE = """node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module './x.js'
Require stack:
- /app/server.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at Module._load (node:internal/modules/cjs/loader:1038:27) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/app/server.js' ]
}

Node.js v20.20.2"""


@pytest.mark.parametrize(
    ("said", "first"),
    [
        (NODE, "Error: Cannot find module './x.js'"),
        ("{\n^\nTypeError [ERR_X]: no\n    at f (a.js:1:2)\n}", "{"),
        (
            'Exception in thread "main" java.lang.IllegalStateException: no port\n'
            + "\tat Main.main(Main.java:3)\n" * 30,
            'Exception in thread "main" java.lang.IllegalStateException: no port',
        ),
        (
            "panic: no port\n\ngoroutine 1 [running]:\nmain.main()\n\t/m.go:4 +0x18\n"
            "exit status 2",
            "panic: no port",
        ),
        (
            "Traceback (most recent call last):\n  File 'a.py', line 1, in <module>\n"
            "    import x\nModuleNotFoundError: No module named 'x'",
            "File 'a.py', line 1, in <module>",
        ),
        ("one\ntwo\nthree\nfour", "two"),
        ("ErrorBoundary compiled\n" + "line\n" * 40 + "last", "line"),
        ("", ""),
    ],
)
def test_a_trace_does_not_hide_the_error(said: str, first: str) -> None:
    """Threat 144: Node, Java and Go say it first and where it happened last."""
    told = telling(said.split("\n"), 3)
    assert "".join(told[:1]) == first
    assert len(told) <= 3


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], ""),
        (["sh: make: not found"], "sh: make: not found"),
        (
            ["Traceback (most recent call last):", "ValueError: no", "make: *** [x]"],
            "ValueError: no\nTraceback (most recent call last):\nValueError: no\n"
            "make: *** [x]",
        ),
        (["one", "two"], "two\none\ntwo"),
    ],
)
def test_a_traceback_keeps_its_lines(said: list[str], words: str) -> None:
    """The line that names the error first, because lists show no more."""
    assert quoted(said) == words
