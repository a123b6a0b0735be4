"""The manifest: from the bytes of `zerverless.yaml` to what the repository declares.

Pure but for two settings, the default timeout and whether egress is on. `compose.py`
reads the YAML and knows where everything stood, `validate.py` holds it against the
schema; here is what a schema cannot say, and the plain values everyone else works with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from applications import combinations, compose, keywords, validate
from applications.errors import ManifestError, Problem
from applications.names import normal_path
from applications.positions import Document, Path
from applications.quantities import parse_duration, parse_size
from applications.spec import INSTANCES_MAX, Check, FunctionSpec

_AMBIGUOUS = "Read as text; YAML 1.1 tools read something else: put it in quotes"
_PROBLEMS_MAX = 100  # more help nobody, and every one is stored with the revision


@dataclass(frozen=True)
class Manifest:
    """A manifest without problems; `warnings` are for people, nothing acts on them."""

    name: str
    namespace: str
    repo_url: str
    branch: str
    functions: tuple[FunctionSpec, ...]
    warnings: tuple[Problem, ...]
    document: Document = field(default_factory=lambda: Document(""), compare=False)

    def problem(self, function: FunctionSpec, key: str, message: str) -> Problem:
        """What is wrong with a function's `key`, with the place in the file."""
        here: Path = ("spec", "functions", self.functions.index(function), key)
        return self.document.problem(here, message)


def parse(
    data: bytes,
    *,
    filename: str = "zerverless.yaml",
    namespace: str | None = None,
    repo_url: str = "",
    branch: str = "",
) -> Manifest:
    """The manifest in `data`; raises ManifestError with everything that is wrong.

    `namespace`, `repo_url` and `branch` are what the application was registered with;
    another namespace in the manifest is a problem, another source a warning.
    """
    document = compose.read(data, filename)
    problems = list(document.problems)
    if document.is_complete:
        problems += validate.problems(document)
        problems += _namespace_problems(document, namespace)
        problems += _path_problems(document)
        functions = _at(document, ("spec", "functions"))
        problems += combinations.problems(document, functions)
    if problems:
        raise ManifestError(_in_order(problems))
    content = document.data
    source = content["spec"].get("source", {})
    return Manifest(
        name=content["metadata"]["name"],
        namespace=content["metadata"].get("namespace", namespace or ""),
        repo_url=source.get("repoURL", repo_url),
        branch=source.get("branch", branch),
        functions=tuple(
            _function(document, index, item)
            for index, item in enumerate(content["spec"]["functions"])
        ),
        warnings=tuple(_in_order(_warnings(document, source, repo_url, branch))),
        document=document,
    )


def _in_order(problems: list[Problem]) -> list[Problem]:
    """As they stand in the file; no more than help."""
    ordered = sorted(problems, key=lambda p: (p.line, p.column, p.path, p.message))
    more = len(ordered) - _PROBLEMS_MAX
    if more <= 0:
        return ordered
    last = ordered[_PROBLEMS_MAX - 1]
    rest = Problem(last.file, last.line, last.column, "", f"and {more} more problems")
    return [*ordered[:_PROBLEMS_MAX], rest]


def _namespace_problems(document: Document, registered: str | None) -> list[Problem]:
    path = ("metadata", "namespace")
    declared = _at(document, path)
    if registered is None or not isinstance(declared, str) or declared == registered:
        return []
    message = f"Forbidden: the application is registered in namespace {registered}"
    return [document.problem(path, message)]


def _path_problems(document: Document) -> Iterator[Problem]:
    """Two functions with one path; paths have one spelling each (names.py)."""
    functions = _at(document, ("spec", "functions"))
    first: dict[str, Path] = {}
    for index in range(len(functions) if isinstance(functions, list) else 0):
        path = ("spec", "functions", index, "path")
        value = _at(document, path)
        if not isinstance(value, str):
            continue
        if value in first:
            line = document.problem(first[value], "").line
            yield document.problem(path, f"Duplicate value: first set at line {line}")
        first.setdefault(value, path)


def _at(document: Document, path: Path) -> Any:
    """What stands at `path` in data that may have any shape; None where it ends."""
    value = document.data
    for part in path:
        if isinstance(part, int) and isinstance(value, list):
            value = value[part]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _warnings(
    document: Document, source: dict[str, Any], repo_url: str, branch: str
) -> list[Problem]:
    found = [
        document.problem(path, _AMBIGUOUS)
        for path in document.ambiguous
        if "env" not in path and not any(str(part).startswith("x-") for part in path)
    ]
    declared = source.get("repoURL", "")
    if declared and repo_url and _plain_url(declared) != _plain_url(repo_url):
        message = "Differs from the repository the application was registered with"
        found.append(document.problem(("spec", "source", "repoURL"), message))
    if branch and source.get("branch", branch) != branch:
        message = f"Differs from the branch that is deployed, {branch}"
        found.append(document.problem(("spec", "source", "branch"), message))
    return found


def _plain_url(url: str) -> str:
    """Without what makes no difference to where a URL leads."""
    return url.strip().rstrip("/").removesuffix(".git").lower()


def _function(document: Document, index: int, item: dict[str, Any]) -> FunctionSpec:
    context = normal_path(item.get("context", ""))
    below = "" if context == "." else f"{context}/"
    timeout = item.get("timeout")
    here: Path = ("spec", "functions", index, "env")
    return FunctionSpec(
        path=item["path"],
        runtime=item["runtime"],
        dockerfile=normal_path(item.get("dockerfile", f"{below}Dockerfile")),
        context=context,
        target=item.get("target", ""),
        response=item.get("response", "raw"),
        content_type=item.get("contentType", ""),
        timeout=(
            parse_duration(timeout) if timeout else settings.ZERVERLESS_REQUEST_TIMEOUT
        ),
        memory=parse_size(item.get("memory", "256Mi")),
        cpu=float(item.get("cpu", 0.5)),
        concurrency=_whole(item.get("concurrency")),
        methods=tuple(item.get("methods", ())),
        # The text as written: 1.10 stays 1.10, and on stays on.
        env={name: document.texts[*here, name] for name in item.get("env", {})},
        **_server_part(item),
        checks=tuple(map(_check, item.get("checks", ()))),
    )


def _server_part(item: dict[str, Any]) -> dict[str, Any]:
    instances = item.get("instances", {})
    fewest = int(instances.get("min", 0))
    port = item.get("port")
    return {
        "port": 0 if port == keywords.NO_PORT else _whole(port),
        "min_instances": fewest,
        "max_instances": int(instances.get("max", max(fewest, INSTANCES_MAX))),
        "idle": parse_duration(item.get("idle", "5m")),
        "network": item.get("network", "none"),
    }


def _check(item: dict[str, Any]) -> Check:
    method, _, path = item["request"].partition(" ")
    expect = item.get("expect", {})
    return Check(
        method, path, int(expect.get("status", 200)), expect.get("contains", "")
    )


def _whole(value: float | None) -> int | None:
    """JSON Schema takes 16.0 for an integer."""
    return None if value is None else int(value)
