"""The stored log: numbered once, bounded, clean, readable from anywhere."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from builds import log, transcript
from builds.log import Writer, writing
from builds.models import Build, BuildLogChunk
from tests.builds.conftest import make_build

pytestmark = pytest.mark.django_db


@pytest.fixture
def build() -> Build:
    return make_build()


def write(build: Build, *lines: str) -> None:
    with writing(build.pk) as writer:
        for line in lines:
            writer.add(line)
    build.refresh_from_db()


def texts(build: Build) -> list[str]:
    return [text for _, text in log.lines(build, 0, 10**6)]


def test_lines_are_numbered_from_one(build: Build) -> None:
    write(build, "a", "", "c")
    assert log.lines(build) == [(1, "a"), (2, ""), (3, "c")]
    assert build.log_lines == 3


def test_a_reader_goes_on_where_it_was(build: Build) -> None:
    write(build, *(f"line {n}" for n in range(1, 1501)))
    assert log.lines(build, 1498, 10) == [(1499, "line 1499"), (1500, "line 1500")]
    assert [n for n, _ in log.lines(build, 700, 3)] == [701, 702, 703]
    assert log.lines(build, 1500) == []
    assert log.tail(build, 1) == [(1500, "line 1500")]
    assert "".join(log.whole(build)).splitlines()[:2] == ["line 1", "line 2"]


def test_another_attempt_goes_on_below(build: Build) -> None:
    write(build, "first attempt")
    write(build, "second attempt")
    assert log.lines(build) == [(1, "first attempt"), (2, "second attempt")]


def test_two_writers_never_share_a_number(build: Build) -> None:
    """Threat 99: a worker that lost its lease writes its last lines late."""
    late = Writer(build.pk)
    late.add("written at once")
    write(build, "the new worker")
    late.add("late")
    late.close()
    assert [n for n, _ in log.lines(build)] == [1, 2, 3]


def test_a_text_of_several_lines_is_numbered_as_such(build: Build) -> None:
    """An error with its source lines: the log ended in lines without numbers."""
    write(build, "first", "an error\n> 2 | RUNN\n  3 | CMD", "last")
    assert [n for n, _ in log.lines(build)] == [1, 2, 3, 4, 5]
    build.refresh_from_db()
    assert build.log_lines == 5


def test_lines_can_be_followed_while_they_come(build: Build) -> None:
    writer = Writer(build.pk)
    for number in range(3):
        writer.add(f"{number}")
    assert texts(build) == ["0"]
    time.sleep(log.BATCH_SECONDS)
    writer.tick()
    assert texts(build) == ["0", "1", "2"]
    assert build.chunks.count() == 2


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("nul \0 and \ud800", "nul  and "),
        ("\x1b[31mred", "red"),
        ("clone https://ada:s3cret@git.example/x", "clone https://***@git.example/x"),
    ],
)
def test_stored_text_is_clean_and_without_credentials(
    build: Build, raw: str, stored: str
) -> None:
    """Threats 14, 21 and 49."""
    write(build, raw)
    assert texts(build) == [stored]


def test_of_too_long_a_log_head_and_tail_stay(build: Build, settings: Any) -> None:
    """Threat 44."""
    settings.ZERVERLESS_BUILD_LOG_MAX = 2000
    write(build, *(f"{n:09}" for n in range(100_000)))
    kept = texts(build)
    assert (kept[0], kept[-1]) == ("000000000", "000099999")
    assert "its end is kept" in kept[100]
    assert kept[101] == "[99,887 lines are left out here.]"
    assert len(kept) == 115
    assert sum(len(chunk.text) for chunk in BuildLogChunk.objects.all()) < 2500


def test_a_flood_costs_no_memory(build: Build, settings: Any) -> None:
    """Threat 44."""
    settings.ZERVERLESS_BUILD_LOG_MAX = 1 << 20
    writer = Writer(build.pk)
    tracemalloc.start()
    for number in range(50_000):
        writer.add(str(number))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    writer.close()
    assert peak < 4 << 20
    assert texts(build)[-1] == "49999"


def test_a_real_log_falls_into_its_steps(build: Build) -> None:
    """As BuildKit of Docker 20.10 printed it."""
    write(build, "==> Build", *REAL.splitlines())
    steps = transcript.steps(log.lines(build))
    assert [(step.title, step.note) for step in steps][-4:] == [
        ("[one 2/2] RUN echo hi && sleep 1", "1.2 s"),
        ("[stage-1 2/3] COPY --from=one /bin/sh /tmp/x", "cached"),
        ("[stage-1 3/3] RUN false", "failed"),
        ("exporting to image", "0.0 s"),
    ]


REAL = """\
#4 [one 1/2] FROM docker.io/library/busybox
#4 sha256:08a03f3ffe5fba421a6403c31e153425ced631d108868f30e04985f99d69326e
#4 CACHED

#5 [one 2/2] RUN echo hi && sleep 1
#5 sha256:718074fb00203dcac6b0cbe27f4ebcd835309b2b0f1ae0c1a25bb7407471c83d
#5 0.152 hi
#5 0.153 #9 DONE 9.0s
#5 DONE 1.2s

#6 [stage-1 2/3] COPY --from=one /bin/sh /tmp/x
#6 sha256:014740d72310d60900f0a1a891ecd49d4b48db2b3285f3e279f681b4ebfc426d
#6 CACHED

#7 [stage-1 3/3] RUN false
#7 sha256:c2d24af8b607534e101e6c58f0a06ddff81d867c0e90430fa2cdb1bed3e797aa
#7 ERROR: executor failed running [/bin/sh -c false]: exit code: 1

#8 exporting to image
#8 exporting layers 0.0s done
#8 writing image sha256:3a777b151cc04e391100b845a5dbda7e1a1d2a0155a13859ff9 done
#8 DONE 0.0s
"""
