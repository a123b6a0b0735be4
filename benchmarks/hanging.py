"""What a push waits for while Git servers of others hang: `push_beside_hanging`."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.bench import Bench
from benchmarks.client import until
from benchmarks.measure import Figure
from benchmarks.platform import PATIENCE, Files

SERVERS = 10
_versions = itertools.count(int(time.time()))

# Each hanging repository is polled and synced anew, as after ten pushes at once.
REGISTER = """
from applications.models import Application
for n, url in enumerate({urls}):
    Application.objects.create(namespace=f"hanging-{{n}}", name="app", repo_url=url)
"""
DISTURB = """
from django.utils import timezone
from applications.models import Application, Sync
from zerverless_site import pipeline
hanging = Application.objects.filter(namespace__startswith="hanging-")
hanging.update(next_poll_at=timezone.now())
for application in hanging:
    pipeline.request_sync(application, Sync.Trigger.MANUAL)
"""
REMOVE = """
from applications.models import Application
from zerverless_site import pipeline
for application in Application.objects.filter(namespace__startswith="hanging-"):
    pipeline.remove_application(application)
"""


def push_beside_hanging(bench: Bench) -> Iterator[Figure]:
    """From Sync now to the new answer: alone, and beside ten servers that hang."""
    bench.platform.deploy("beside", _word("first"))
    reference = [_push(bench) for _ in range(bench.runs)]
    with hanging(SERVERS) as (urls, open_connections):
        bench.platform.stack.shell(REGISTER.format(urls=urls))
        ours = []
        for _ in range(bench.runs):
            bench.platform.stack.shell(DISTURB)
            until(lambda: len(open_connections) >= 2, PATIENCE)
            ours.append(_push(bench))
    bench.platform.stack.shell(REMOVE)
    about = (
        f"push to live beside {SERVERS} Git servers that hang; the same without them"
    )
    yield Figure("push_beside_hanging", "s", about, ours, reference)


def _push(bench: Bench) -> float:
    text = f"version {next(_versions)}"
    return bench.platform.push_until_live("beside", _word(text), f"{text}\n")


def _word(text: str) -> Files:
    return {"Dockerfile": f'FROM busybox\nCMD ["echo", "{text}"]\n'}


@contextmanager
def hanging(count: int) -> Iterator[tuple[list[str], set[socket.socket]]]:
    """Servers that accept and never answer: their URLs, and who waits for them."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    waiting: set[socket.socket] = set()
    for listener in listeners:
        threading.Thread(target=_accept, args=(listener, waiting), daemon=True).start()
    ports = [listener.getsockname()[1] for listener in listeners]
    try:
        yield [f"http://127.0.0.1:{port}/app.git" for port in ports], waiting
    finally:
        for opened in (*listeners, *waiting):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()


def _accept(listener: socket.socket, waiting: set[socket.socket]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            waiting.add(client)
            threading.Thread(target=_wait, args=(client, waiting), daemon=True).start()


def _wait(client: socket.socket, waiting: set[socket.socket]) -> None:
    with suppress(OSError):
        while client.recv(4096):
            pass
    waiting.discard(client)
