"""What people's Dockerfiles may use on a newer engine, with either image store."""

from __future__ import annotations

import contextlib

from builds import engine
from tests.builds.conftest import Maker
from tests.fixtures.newer_engine import NewerEngine

MODERN = """
FROM busybox
RUN --mount=type=cache,target=/cache echo kept > /cache/file
RUN <<EOF
echo "from a heredoc" > /said
EOF
CMD ["cat", "/said"]
"""


def test_cache_mounts_and_heredocs_build(
    newer_engine: NewerEngine, make_image: Maker
) -> None:
    built = make_image(MODERN)
    assert engine.image(built.id) == built
    assert engine.builder().startswith(f"BuildKit through {newer_engine.directory}")
    assert int(newer_engine.version.split(".")[0]) > 20, newer_engine.version
    with contextlib.closing(newer_engine.client()) as client:
        assert client.containers.run(built.id, remove=True) == b"from a heredoc\n"
