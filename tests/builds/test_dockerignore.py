"""`.dockerignore`: Docker's own client is the judge, and time stays linear."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from builds import client, dockerignore
from builds.dockerignore import PATTERNS_MAX, Ignore
from builds.errors import BuildError

TREE = [
    "README.md", "a.txt", "app/main.py", "app/main.pyc", "app/sub/deep/x.log",
    "app/sub/keep.log", "ab/c", "a/b/c", "a-b", "docs/README.md", "docs/api/x.md",
    "node_modules/p/index.js", "secret[1].txt", "tmp1", "tmp2", "tmpx", ".env", "x#y",
    "sp ace/f", "deep/a/b/c/d/e.txt", "é.txt", "foo/bar/baz", "foobar", "xa/yb",
]  # fmt: skip
IGNORED = {
    "nothing": "",
    "comment, blank and spaces": "# a.txt\n\n   a.txt   \n#*\n",
    "a name anywhere is not meant": "README.md\nmain.py\n",
    "any depth": "**/README.md\n**/*.log\n",
    "a directory": "app\n",
    "trailing slash": "docs/\nnode_modules/\n",
    "leading slash and dots": "/a.txt\n./docs/../ab\n",
    "exception": "*\n!app\n!README.md\napp/*.pyc\n",
    "exception in a directory": "app/**\n!app/sub/keep.log\n",
    "last match wins": "*.txt\n!a.txt\na.txt\n",
    "re-included then ignored": "docs\n!docs/api\ndocs/api/x.md\n",
    "one character": "tmp?\n",
    "class": "tmp[0-9]\n",
    "negated class": "tmp[^0-9]\n",
    "escaped class": "secret\\[1\\].txt\n",
    "star stays in its part": "a*\n",
    "middle double star": "deep/**/e.txt\n",
    "double star at the end": "foo/**\n",
    "double star glued": "f**r\n",
    "triple star": "***.md\n",
    "hidden": ".*\n",
    "not ASCII": "é.txt\n",
    "space": "sp ace\n",
    "carriage returns": "a.txt\r\nab\r\n",
    "byte order mark": "\ufeffa.txt\n",
    "hash inside": "x#y\n",
    "exception with spaces": "*\n!  a.txt\n",
    "outside": "../a.txt\n..\n",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in TREE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return root


def sent_by_docker(tree: Path, ignored: str, to: Path) -> set[str]:
    """What a real `docker build` has in its context, by copying it out again."""
    (tree / ".dockerignore").write_bytes(ignored.encode())
    binary = client.find()
    assert binary is not None
    subprocess.run(
        [binary.path, "build", "-q", "-o", str(to), str(tree)],
        env=client.environment(),
        check=True,
        capture_output=True,
    )
    files = {str(p.relative_to(to)) for p in to.rglob("*") if p.is_file()}
    return files & set(TREE)


@pytest.mark.parametrize("name", IGNORED)
def test_the_same_files_are_left_out_as_by_docker(
    name: str, tree: Path, tmp_path: Path
) -> None:
    ignore = Ignore(IGNORED[name])
    ours = {path for path in TREE if not ignore.excludes(path)}
    assert ours == sent_by_docker(tree, IGNORED[name], tmp_path / "out")


def test_an_exception_at_any_depth_holds_in_an_ignored_directory() -> None:
    """As documented; Docker 20.10 does not look into the directory at all."""
    ignore = Ignore("**\n!**/*.md\n")
    assert not ignore.excludes("docs/api/x.md")
    assert ignore.excludes("docs/api/x.txt")


@pytest.mark.parametrize(
    "pattern", ["*a" * 10 + "b", "**/" * 30 + "x", "a*" * 500, "[a-z]*" * 50, "?*" * 90]
)
def test_no_pattern_takes_exponential_time(pattern: str) -> None:
    """Threat 41: ten stars took 22 seconds as a regular expression."""
    ignore, path = Ignore(pattern), "a" * 200 + "/" + "a" * 200
    started = time.perf_counter()
    for number in range(100):
        ignore.excludes(f"{path}{number}")
    assert time.perf_counter() - started < 2


BOMBS = {
    "one long pattern": "**/" * 150_000 + "*" * 450_000,
    "hundreds of long ones": ("**/" * 100 + "*a" * 80 + "\n") * 400,
    "classes": "[^a-z]" * 20_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_megabyte_of_patterns_is_work_that_is_bounded(name: str) -> None:
    """Threats 41 and 125: it was 4 GB and minutes."""
    started = time.process_time()
    ignore = Ignore(BOMBS[name])
    for number in range(50):
        ignore.excludes(f"{'a' * 30}/{'b' * 20}/name{number:02}.txt")
    assert time.process_time() - started < 20


def test_too_much_work_names_the_pattern_that_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threat 125."""
    monkeypatch.setattr(dockerignore, "WORK_MAX", 100_000)
    ignore = Ignore("x\n" + "**/*a" * 2000 + "\n*.md\n")
    paths = (f"{'a' * 300}/{number}" for number in range(100_000))
    with pytest.raises(BuildError, match=r"^\.dockerignore:2: .*too long") as caught:
        any(map(ignore.excludes, paths))
    assert caught.value.code == "build:dockerignore"
    assert len(caught.value.message) < 500


def test_ten_stars_take_microseconds() -> None:
    """Threat 41."""
    ignore, times = Ignore("*a" * 10 + "b"), []
    for _ in range(5):
        started = time.perf_counter()
        ignore.excludes("a" * 30)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.001


@pytest.mark.parametrize("bad", ["[", "a[b", "a\\", "[]"])
def test_a_pattern_that_is_none_is_named_with_its_line(bad: str) -> None:
    with pytest.raises(BuildError, match=r"^\.dockerignore:2: "):
        Ignore(f"ok\n{bad}\n")


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(BuildError, match="at most"):
        Ignore("x\n" * (PATTERNS_MAX + 1))
