"""What an engine that can must hold back from a build, whatever its Dockerfile says.

BuildKit from 0.11 on (Docker 24, with buildx) asks a source policy before it takes
anything from anywhere, also for what a parent image's ONBUILD adds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.conf import settings

from builds.sources import repository_of

VARIABLE = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"  # names a file, for buildx
DENIED = "denied by policy"


def rules(prefix: str, own: Iterable[str]) -> dict[str, object]:
    """Images but those others made here, and the context. The last rule counts."""
    ours = repository_of(f"{prefix}/x/x")[:-4]
    mine = [f"docker-image://{name}{end}" for name in own for end in (":*", "@*")]
    wanted = [
        ("DENY", "*"),
        ("ALLOW", "local://*"),
        # The tar on the client's standard input, whatever it looks like.
        ("ALLOW", "http://buildkit-session/*"),
        ("ALLOW", "docker-image://*"),
        ("DENY", f"docker-image://{ours}/*"),
        *(("ALLOW", name) for name in mine),
    ]
    return {
        "rules": [
            {"action": action, "selector": {"identifier": identifier}}
            for action, identifier in wanted
        ]
    }


@contextmanager
def file(own: Iterable[str]) -> Iterator[str]:
    """A file with the policy of one build, until the block ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as written:
        json.dump(rules(settings.DOCKER_IMAGE_PREFIX, own), written)
        written.flush()
        yield written.name
