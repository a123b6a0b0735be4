"""Docker's stream taken apart again, however it is cut into pieces."""

from __future__ import annotations

import socket
import struct
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.pump import STDERR_TAIL, Pump, Stopped


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def pumped(pieces: list[bytes], limit: int = 1 << 20) -> tuple[Stopped, Pump]:
    """What the pump makes of pieces that arrive one after another, then the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pump = Pump(ours, None, b"", limit)
        feeder = threading.Thread(target=_feed, args=(theirs, pieces))
        feeder.start()
        stopped = pump.run(time.monotonic() + 5, lambda: False)
        ours.close()
        feeder.join()
    return stopped, pump


def _feed(stream: socket.socket, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            stream.sendall(piece)
        stream.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the pump had enough


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=60))),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_frames_survive_any_cutting(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(*each) for each in frames)
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    stopped, pump = pumped(pieces)
    assert stopped is Stopped.END
    assert pump.stdout == b"".join(data for kind, data in frames if kind == 1)
    assert pump.stderr == b"".join(data for kind, data in frames if kind == 2)


@pytest.mark.parametrize(
    ("size", "stopped"), [(1000, Stopped.END), (1001, Stopped.TOO_LARGE)]
)
def test_the_limit_is_exact(size: int, stopped: Stopped) -> None:
    """Threat 60."""
    assert pumped([frame(1, b"x" * size)], limit=1000)[0] is stopped


def test_only_the_tail_of_standard_error_is_kept() -> None:
    """Threat 60."""
    _, pump = pumped([frame(2, b"a" * 100_000), frame(2, b"end")])
    assert len(pump.stderr) == STDERR_TAIL
    assert pump.stderr.endswith(b"aend")
    assert pump.stderr_cut


def test_a_stream_cut_inside_a_frame_is_an_end() -> None:
    """Threat 74."""
    stopped, pump = pumped([frame(1, b"whole"), frame(1, b"half")[:9]])
    assert (stopped, pump.stdout) == (Stopped.END, b"whole")


def test_the_deadline_holds_while_output_never_stops() -> None:
    """Threat 61: a stream that is always readable must not hide the clock."""
    ours, theirs = socket.socketpair()
    endless = threading.Thread(
        target=_feed, args=(theirs, [frame(2, b"x" * 900)] * 10**6)
    )
    with ours, theirs:
        pump = Pump(ours, None, b"", 1 << 30)
        endless.start()
        began = time.monotonic()
        stopped = pump.run(began + 0.3, lambda: False)
        ours.close()
        endless.join()
    assert stopped is Stopped.DEADLINE
    assert time.monotonic() - began < 1
