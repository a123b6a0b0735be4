"""A token on every way into the platform is nowhere to be found afterwards."""

from __future__ import annotations

import re
import secrets
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from tests.fixtures.git import GitServer
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: loud, namespace: team}
spec:
  functions:
    - {path: /loud, runtime: docker, context: app, dockerfile: app/Dockerfile}
"""
TOKEN = f"s3cr3t{secrets.token_hex(8)}"
URL = f"https://ada:{TOKEN}@git.example/x.git"
# The second word hides the token from the image's own history: it comes in a file.
DOCKERFILE = """\
FROM busybox
COPY word /word
RUN cat /word
CMD ["sh", "-c", "env; env | grep -v INPUT_ >&2; cat /word >&2"]
"""


@pytest.fixture(scope="module")
def loud(stack: Stack, git_server: GitServer) -> str:
    """A function that says all it knows, its build too."""
    files = {
        "zerverless.yaml": MANIFEST,
        "app/Dockerfile": DOCKERFILE,
        "app/word": f"fatal: could not read {URL}\n",
    }
    repo = git_server.make("loud", files)
    result = stack.add("team", "loud", repo.url)
    assert result["state"] == "succeeded", stack.log()
    return str(result["live"][0]["image_id"])


def logs(stack: Stack) -> str:
    """Whatever the platform wrote into files."""
    found = [stack.data_dir / "serve.log", *stack.data_dir.glob("log/*")]
    return "\n".join(path.read_text(errors="replace") for path in found)


def rows(stack: Stack) -> str:
    """Every row of every table but sessions, the queue's as well."""
    return stack.shell(ROWS)


ROWS = """
from django.apps import apps
for model in apps.get_models():
    if model._meta.label != "sessions.Session":
        print(*model._default_manager.values(), sep="\\n")
"""


def assert_nowhere(secret: str, stack: Stack) -> None:
    for place, text in (("a log", logs(stack)), ("a row", rows(stack))):
        at = text.find(secret)
        assert at < 0, f"in {place}: {text[max(at - 200, 0) : at]}…"


def test_a_url_with_a_token_is_refused_without_repeating_it(stack: Stack) -> None:
    """Threats 20 and 21."""
    done = stack.manage(
        "add_application", "--namespace=team", f"--repo={URL}", check=False
    )
    assert done.returncode != 0
    assert "must not hold" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert_nowhere(TOKEN, stack)


def test_what_a_build_a_function_and_a_caller_say_is_stored_without_it(
    stack: Stack, loud: str
) -> None:
    """Threats 20, 21 and 81: the build log, the function's log, the query."""
    assert stack.get(f"/team/loud?access_token={TOKEN}").status == 200
    stack.until(lambda: "git.example" in stack.shell(STDERR), 10)
    assert "could not read https://***@git.example" in rows(stack)
    assert_nowhere(TOKEN, stack)


STDERR = "from runtime.models import *; print(Invocation.objects.values('stderr'))"


def test_a_url_written_behind_every_check_goes_no_further(
    stack: Stack, loud: str
) -> None:
    """Threat 21: polls and syncs of it fail without repeating it."""
    before = stack.shell(SET_URL.format(url=URL))
    result = stack.sync("team/loud")
    assert (result["state"], TOKEN in str(result)) == ("failed", False)
    stack.shell(POLL)
    stack.until(lambda: "git:" in stack.shell(POLLED), 30)
    stack.shell(SET_URL.format(url=before))
    assert_nowhere(TOKEN, stack)


SET_URL = """
from applications.models import Application
print(Application.objects.get().repo_url)
Application.objects.update(repo_url="{url}")
"""
# Due: what has just been polled by the clock would be let be.
POLL = """
from django.utils import timezone
from applications.models import Application
Application.objects.update(next_poll_at=timezone.now())
"""
POLLED = "from applications.models import *; print(Application.objects.get().__dict__)"


def log_in(stack: Stack) -> dict[str, str]:
    """The cookies of a browser after a real login."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = browser.open(f"{stack.url}/-/login").read().decode()
    found = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page)
    assert found
    form = {
        "username": "admin",
        "password": stack.admin_password,
        "csrfmiddlewaretoken": found[1],
    }
    request = urllib.request.Request(
        f"{stack.url}/-/login",
        urllib.parse.urlencode(form).encode(),
        {"Origin": stack.url},
    )
    assert "Log out" in browser.open(request).read().decode()
    return {cookie.name: cookie.value or "" for cookie in jar}


def test_a_session_reaches_neither_a_function_nor_its_log(
    stack: Stack, loud: str
) -> None:
    """Threat 63: logged in, every cookie sent to the function, all logs read."""
    cookies = log_in(stack)
    assert {"zerverless_session", "zerverless_csrf"} <= cookies.keys()
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = stack.get("/team/loud", headers={"Cookie": f"{sent}; mine=1"})
    assert "HTTP_COOKIE=mine=1\n" in answer.text
    stack.until(lambda: "HTTP_COOKIE=mine=1" in stack.shell(STDERR), 10)
    for value in cookies.values():
        assert value not in answer.text
        assert_nowhere(value, stack)
