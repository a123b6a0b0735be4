"""Which credentials a build gets, and which of its parent images it may have.

What one namespace's build fetched stays on the Docker host, where the next build that
names it would find it without any credentials. So the registry is asked first, with
the build's own: for every image of a registry that has credentials here, and for every
image named by its digest, because a digest is found under any host's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from applications import encryption
from applications.encryption import Undecipherable
from builds import engine, engine_registry, sources
from builds.client import Login
from builds.errors import BuildError
from builds.log import Writer
from builds.models import Registry, RegistryCredential


def store(host: str, namespace: str, username: str, password: str) -> None:
    """Keep checked credentials (`forms.py`), in place of those there are."""
    with transaction.atomic():
        registry, _ = Registry.objects.get_or_create(host=host)
        RegistryCredential.objects.update_or_create(
            registry=registry,
            namespace=namespace,
            defaults={
                "username": username,
                "encrypted_password": encryption.encrypt(password),
            },
        )


@dataclass(frozen=True)
class Access:
    """What a namespace's builds may have of registries."""

    namespace: str
    logins: tuple[Login, ...] = ()
    guarded: frozenset[str] = frozenset()  # hosts that have or had credentials here

    def check(self, name: str) -> bool:
        """Whether the registry of this image was asked, and gives it to this build.

        Raises BuildError when it refuses, BuildEngineError when it must be asked and
        cannot be.
        """
        host = sources.repository_of(name).partition("/")[0].lower()
        by_digest = "@" in name
        if not self.guarded or not (by_digest or host in self.guarded):
            return False
        if not by_digest and _is_made_here(name):
            return False
        login = next((one for one in self.logins if one.host == host), None)
        if said := engine_registry.refusal(name, login):
            sentence = _sentence(name, host, self.namespace, login, said)
            raise BuildError(sentence, "build:parent")
        return True


def of(namespace: str, log: Writer) -> Access:
    """A namespace's own credentials, and everybody's for other registries."""
    rows = RegistryCredential.objects.filter(namespace__in=["", namespace])
    found: dict[str, Login] = {}
    for row in rows.select_related("registry").order_by("namespace"):
        host = row.registry.host
        try:
            found[host] = Login(host, row.username, row.password, row.namespace)
        except Undecipherable as error:
            found.pop(host, None)
            log.add(f"Without the credentials of {row}: {error.message}")
    hosts = Registry.objects.values_list("host", flat=True)
    return Access(namespace, tuple(found.values()), frozenset(hosts))


def _is_made_here(name: str) -> bool:
    """A function's image, which is vetted elsewhere, or one that an operator made."""
    prefix = sources.repository_of(f"{settings.DOCKER_IMAGE_PREFIX}/x/x")[:-3]
    if sources.repository_of(name).startswith(prefix):
        return True
    found = engine.image(sources.canonical(name))
    return found is not None and not found.digests


def _sentence(
    name: str, host: str, namespace: str, login: Login | None, said: str
) -> str:
    command = f"manage.py add_registry --host {host} --namespace {namespace}"
    if login is None:
        return (
            f"The registry {host} does not give out the parent image {name}: {said}. "
            f"It was asked without credentials, because there are none for namespace "
            f"{namespace}, nor for all. If the image is private: {command}"
        )
    whose = f"namespace {login.namespace}" if login.namespace else "all namespaces"
    return (
        f"The registry {host} does not give the parent image {name} to "
        f"{login.username}, whose credentials are those of {whose}: {said}. Check the "
        f"image's name, what {login.username} may read, and the password: {command}"
    )
