"""Vets a build's Dockerfile before the build: what it takes from elsewhere.

Where the engine itself holds a build to a policy that is a clear word in time; where
it does not (before Docker 24) it is the wall, and parent images are looked at too.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from django.conf import settings
from django.utils.crypto import salted_hmac

from applications.models import Application, Function
from builds import client, dockerfile, engine, images, policy, sources
from builds.client import ImageRequest
from builds.credentials import Access
from builds.errors import BuildEngineError, BuildError
from builds.sources import Parent, Rules


def own_repositories(application: Application) -> tuple[str, ...]:
    """Where the images of an application's functions are."""
    functions = Function.objects.filter(application=application).order_by("pk")
    names = (images.name_of(one.namespace, one.path) for one in functions)
    return tuple(map(sources.repository_of, names))


def cache_of(application: Application) -> str:
    """What the ids of its cache mounts begin with; no other application's do."""
    name = f"{settings.DOCKER_IMAGE_PREFIX} {application.pk}"
    return salted_hmac("zerverless.cache", name, algorithm="sha256").hexdigest()[:32]


def vet(
    text: str,
    file: str,
    own: tuple[str, ...],
    access: Access,
    stop: Callable[[], bool],
    seconds: float,
    *,
    builtin: bool,
) -> tuple[str, ...]:
    """The names of all images a Dockerfile uses; `builtin` is about its frontend.

    Raises BuildError, with the place, for a source it may not have. Where registries
    have credentials here every name must be known, because they are asked about it.
    """
    is_classic = client.find() is None
    held = not is_classic and holds_sources(stop)

    @cache
    def parent(name: str) -> Parent:
        is_asked = access.check(name)
        full = sources.canonical(name)
        found = engine.parent(full, stop, seconds, access.logins, afresh=is_asked)
        pairs = (entry.partition("=") for entry in found.config.get("Env") or ())
        env = {key: value for key, _, value in pairs}
        return Parent(env, tuple(found.config.get("OnBuild") or ()))

    rules = Rules(
        settings.DOCKER_IMAGE_PREFIX,
        frozenset(own),
        "/".join(engine.platform()),
        ids=is_classic,
        parent=None if held and not access.guarded else parent,
    )
    frontend = dockerfile.frontend(text, file)
    asked = frontend is not None and not builtin and not is_classic
    names = sources.check(text, file, rules, heredocs=asked or engine.heredocs())
    if asked and not held:
        # What the frontend takes for a heredoc another version takes for instructions.
        second = replace(rules, parent=None)
        names += sources.check(text, file, second, heredocs=False)
    for name in dict.fromkeys(names):
        access.check(name)
    return names


_holds: dict[tuple[str, str], bool] = {}
_NOTHING_THERE = "http://127.0.0.1:1/x"


def holds_sources(stop: Callable[[], bool]) -> bool:
    """Whether this engine and client keep a build to its policy: tried, once.

    Raises BuildEngineError when that cannot be found out now.
    """
    binary = client.find()
    key = (settings.DOCKER_HOST, binary.path if binary else "")
    if key not in _holds:
        _holds[key] = _try_policy(stop)
    return _holds[key]


def _try_policy(stop: Callable[[], bool]) -> bool:
    """Have something fetched from where nothing is."""
    request = ImageRequest("zerverless-probe:1", seconds=30)
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            body = f"FROM scratch\nADD {_NOTHING_THERE} /x\n".encode()
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        context.seek(0)
        try:
            engine.build(request, context, lambda _: None, stop)
        except BuildError as error:
            if policy.DENIED in error.message:
                return True
            if _NOTHING_THERE in error.message:
                return False
            raise BuildEngineError(
                f"What this Docker Engine holds back cannot be tried: {error.message}"
            ) from None
    raise BuildEngineError("An address where nothing is has been fetched from.")
