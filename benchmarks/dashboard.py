"""The dashboard as a browser uses it: logged in, with cookies."""

from __future__ import annotations

import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar

PAGES = ("/-/", "/-/applications/", "/-/activity", "/-/system")
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Dashboard:
    """Somebody who is logged in."""

    def __init__(self, url: str, password: str) -> None:
        self._url = url
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies)
        self._lock = threading.Lock()
        form = {"username": "admin", "password": password}
        self.post("/-/login", self._token("/-/login"), form)

    def get(self, path: str) -> str:
        """A page; raises HTTPError."""
        with self._opener.open(self._url + path, timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, path: str, token: str, form: dict[str, str] | None = None) -> None:
        """Send a form; raises HTTPError."""
        data = urllib.parse.urlencode({**(form or {}), "csrfmiddlewaretoken": token})
        headers = {"Referer": self._url + path}
        request = urllib.request.Request(self._url + path, data.encode(), headers)
        with self._opener.open(request, timeout=60) as answer:
            answer.read()

    def sync(self, application: str) -> None:
        """Press Sync now on an application's page; NAMESPACE/NAME."""
        page = f"/-/applications/{application}"
        self.post(f"{page}/sync", self._token(page))

    def _token(self, path: str) -> str:
        found = _TOKEN.search(self.get(path))
        if found is None:
            raise RuntimeError(f"no form on {path}")
        return found[1]

    @contextmanager
    def browsed(self, per_second: float) -> Iterator[list[float]]:
        """Load pages at a rate while the block runs; gives the seconds each took."""
        took: list[float] = []
        over = threading.Event()
        threads = [
            threading.Thread(
                target=self._browse, args=(took, over, 4 / per_second, number)
            )
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        try:
            yield took
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _browse(
        self, took: list[float], over: threading.Event, every: float, number: int
    ) -> None:
        while not over.is_set():
            began = time.perf_counter()
            self.get(PAGES[number])
            took.append(time.perf_counter() - began)
            over.wait(max(0.0, every - took[-1]))
