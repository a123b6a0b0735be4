"""Large bodies through a server function, both ways, and what they cost in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.client import Client
from benchmarks.measure import Figure, alternate, seconds
from benchmarks.resources import peak_memory, reset_peak, resident_memory
from benchmarks.warm import NGINX

MEGABYTE = 1 << 20
SMALL_COUNT = 50


def one(bench: Bench) -> Iterator[Figure]:
    """1 MB bodies, one after the other on one connection."""
    yield from _both_ways(bench, "body_1mb", MEGABYTE, SMALL_COUNT)


def hundred(bench: Bench) -> Iterator[Figure]:
    """100 MB bodies, and how far the gateway's memory grows meanwhile."""
    gateway = bench.platform.gateway()
    _transfer(bench.server_url, 10 * MEGABYTE, 1, Client.download)  # warm
    reset_peak(gateway)
    before = resident_memory(gateway)
    yield from _both_ways(bench, "body_100mb", 100 * MEGABYTE, 1)
    about = "growth of the gateway's resident memory while 100 MB bodies pass"
    yield Figure("body_memory", "MiB", about, [peak_memory(gateway) - before])


def _both_ways(bench: Bench, name: str, size: int, count: int) -> Iterator[Figure]:
    """Each way for itself, and the mean of both: MB a second."""
    ways = {"up": Client.upload, "down": Client.download}
    ours: dict[str, list[float]] = {}
    reference: dict[str, list[float]] = {}
    for way, move in ways.items():
        ours[way], reference[way] = alternate(
            bench.runs,
            lambda move=move: _transfer(bench.server_url, size, count, move),  # type: ignore[misc]
            lambda move=move: _transfer(bench.nginx.url, size, count, move),  # type: ignore[misc]
        )
        about = f"bodies of {size // MEGABYTE} MB {way} through a server function"
        yield Figure(
            f"{name}_{way}", "MB/s", f"{about}; {NGINX}", ours[way], reference[way]
        )
    about = f"the same, both ways: twice the bytes in the time of both; {NGINX}"
    yield Figure(name, "MB/s", about, _mean(ours), _mean(reference))


def _transfer(
    url: str, size: int, count: int, move: Callable[[Client, int], None]
) -> float:
    """MB a second of `count` bodies on one connection."""
    client = Client(url)
    try:
        took = seconds(lambda: _repeat(count, lambda: move(client, size)))
    finally:
        client.close()
    return size * count / took / 1e6


def _repeat(count: int, work: Callable[[], object]) -> None:
    for _ in range(count):
        work()


def _mean(ways: dict[str, list[float]]) -> list[float]:
    return [2 / (1 / up + 1 / down) for up, down in zip(*ways.values(), strict=True)]
