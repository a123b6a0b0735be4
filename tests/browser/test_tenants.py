"""What a function's page can do to the dashboard and to other tenants, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Response,
    expect,
)

from tests.fixtures.git import GitServer
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  functions:
    - {{path: /a, runtime: docker, context: server, dockerfile: server/Dockerfile, port: 8080}}
"""  # noqa: E501
ONCE_TOO = """\
    - {path: /once, runtime: docker, context: once, dockerfile: once/Dockerfile, response: cgi}
"""  # noqa: E501
# Answers with the header lines of its query, as they are; whoever asks again with an
# ETag gets a 304 with those named `then`.
SERVER = r"""
import json, os, http.server
from urllib.parse import parse_qs

ATTACK = open("/attack.html", "rb").read()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = parse_qs(query, keep_blank_values=True, encoding="latin-1")
        again = "then" in asked and "if-none-match" in self.headers
        lines = asked.get("then" if again else "h", [])
        body = ATTACK
        if "multipart" in query:
            part = b"--b\r\nContent-Type: text/html\r\n\r\n"
            body = part + body + b"\r\n" + part + body + b"\r\n--b--\r\n"
        if path.endswith(".js"):
            body = b"self.ran = 1"
        if path == "/seen":
            body = json.dumps(self.headers.get("cookie", "")).encode()
        status = b"304 Not Modified" if again else b"200 OK"
        head = b"HTTP/1.1 %b\r\n" % status
        head += b"".join(b"%b\r\n" % line.encode("latin-1") for line in lines)
        body = b"" if again else body
        self.wfile.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def log_message(self, *_):
        pass

place = ("", int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(place, Handler).serve_forever()
"""
ONCE = """\
#!/bin/sh
printf '%s\\n' "$INPUT_H"
printf '\\n'
cat /attack.html
"""
# Well-formed as HTML and as XML. It tries to act as the signed-in user, and to stay.
ATTACK = """\
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body><script>
window.attack = (async function () {
  var done = [];
  try {
    var text = await (await fetch('/-/')).text();
    if (text.includes('csrfmiddlewaretoken')) done.push('read a token');
  } catch (e) {}
  var here = location.pathname.split('/').slice(0, 3).join('/');
  var script = here + '/sw.js?h=Content-Type:text/javascript';
  for (var scope of ['/', '/-/', here + '/']) {
    try {
      await navigator.serviceWorker.register(script, {scope: scope});
      done.push('a worker for ' + scope);
    } catch (e) {}
  }
  try { document.cookie = 'mine=1; path=/'; done.push('a cookie'); } catch (e) {}
  return done;
})();
</script></body></html>
"""
INERT = [
    ["text/plain"],
    ["text/plain; charset=utf-8"],
    ["TEXT/Plain;charset=x"],
    ["application/json"],
    ["application/json; charset=utf-8; profile=x"],
    ["application/octet-stream"],
    ["text/css"],
    ["text/csv"],
    ["text/event-stream"],
    ["image/png"],
    ["image/jpeg"],
    ["video/mp4"],
    ["font/woff2"],
]
CONFINED = [
    [],
    ["text/html"],
    ["Text/HTML ; Charset=UTF-8"],
    ["text/html;"],
    ['text/html; charset="utf-8"'],
    ['text/plain; x="a, text/html"'],
    ["application/xhtml+xml"],
    ["application/xml"],
    ["text/xml"],
    ["text/xsl"],
    ["application/xslt+xml"],
    ["application/rss+xml"],
    ["application/atom+xml"],
    ["application/mathml+xml"],
    ["application/vnd.any+xml"],
    ["image/svg+xml"],
    ["image/svg"],
    ["multipart/x-mixed-replace; boundary=b"],
    ["multipart/related; boundary=b"],
    ["multipart/any; boundary=b"],
    ["message/rfc822"],
    ["application/pdf"],
    ["text/javascript"],
    ["application/unknown"],
    ["unknown/unknown"],
    ["*/*"],
    ["text/*"],
    ["text/x-any"],
    ["text/plain-ish"],
]
DARK = "rgb(13, 17, 23)"
REFUSED = [
    [""],
    ["nonsense"],
    ["text/"],
    ["/html"],
    ["text html"],
    ["text/plain text/html"],
    ["text/plain, text/html"],
    ["text/html,text/plain"],
    ["text/plain;,text/html"],
    ["text/plain; text/html"],
    ["text/plain; charset"],
    ["text/plain; charset=utf-8, text/html"],
    ["text/plain\ttext/html"],
    ["text/pl\xe4in"],
    ["text/plain;x=\xe4"],
    ["text/plain", "text/html"],
    ["text/html", "text/plain"],
    ["text/plain", "text/plain"],
]
# Of functions that run once, these: the rules are one and the same.
OF_ONCE = [
    ["text/plain"],
    ["text/html"],
    ["text/xsl"],
    ["image/svg+xml"],
    ["multipart/x-mixed-replace; boundary=b"],
    ["text/plain, text/html"],
    ["text/plain; text/html"],
]
CASES = [
    *((kinds, "inert") for kinds in INERT),
    *((kinds, "confined") for kinds in CONFINED),
    *((kinds, "refused") for kinds in REFUSED),
]


@pytest.fixture(scope="module")
def site(stack: Stack, git_server: GitServer) -> Stack:
    """A platform with the same server of two tenants; of one it runs once, too."""
    for namespace, more in (("alice", ""), ("mallory", ONCE_TOO)):
        files = {
            "zerverless.yaml": MANIFEST.format(name="app", namespace=namespace) + more,
            "server/Dockerfile": "FROM python:3.11-slim\n"
            'COPY . /\nCMD ["python", "/server.py"]\n',
            "server/server.py": SERVER,
            "server/attack.html": ATTACK,
            "once/Dockerfile": 'FROM busybox\nCOPY . /\nCMD ["sh", "/once.sh"]\n',
            "once/once.sh": ONCE,
            "once/attack.html": ATTACK,
        }
        repository = git_server.make(f"tenants/{namespace}", files)
        result = stack.add(namespace, "app", repository.url)
        assert result["state"] == "succeeded", stack.log()
    return stack


@pytest.fixture(scope="module")
def context(browser: Browser, site: Stack) -> Iterator[BrowserContext]:
    """A browser in which the administrator is signed in."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    tab = context.new_page()
    tab.goto(f"{site.url}/-/")
    tab.get_by_label("Name").fill("admin")
    tab.get_by_label("Password").fill(site.admin_password)
    tab.get_by_role("button", name="Log in").click()
    expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
    tab.close()
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Page]:
    """A tab of that browser."""
    tab = context.new_page()
    yield tab
    tab.close()


def address(base: str, *lines: str, **more: str) -> str:
    """A URL of a function that answers with these header lines."""
    query = urlencode(
        [*(("h", line) for line in lines), *more.items()], encoding="latin-1"
    )
    return f"{base}?{query}"


def open_page(tab: Page, url: str) -> tuple[Response | None, object]:
    """The answer, and what its script could do, if there is one and it ran."""
    answers: list[Response] = []

    def arrived(answer: Response) -> None:
        answers.append(answer)

    tab.on("response", arrived)
    with suppress(Error):  # not shown, but downloaded
        tab.goto(url)
    done = tab.evaluate("window.attack")
    tab.remove_listener("response", arrived)
    return next((a for a in answers if a.url == url), None), done


def kind_of(answer: Response) -> str:
    """How the gateway treated an answer."""
    if answer.status == 502:
        return "refused"
    assert answer.status == 200
    headers = answer.headers_array()
    policies = [
        row["value"]
        for row in headers
        if row["name"].lower() == "content-security-policy"
    ]
    return "confined" if any("sandbox" in policy for policy in policies) else "inert"


def test_no_content_type_lets_a_page_act_as_the_signed_in_user(
    site: Stack, tab: Page
) -> None:
    """Threats 64 and 135: none of these reads a token, registers a worker or sets a
    cookie for the dashboard's origin; of either kind of function."""
    wrong = []
    for kinds, expected in CASES:
        lines = [f"Content-Type: {kind}" for kind in kinds]
        urls = [address(f"{site.url}/mallory/a/t", *lines)]
        if kinds in OF_ONCE:
            urls.append(address(f"{site.url}/mallory/once/t", *lines))
        for url in urls:
            answer, done = open_page(tab, url)
            treated = kind_of(answer) if answer else "nothing"
            if done or treated != expected:
                wrong.append((url, treated, expected, done))
    assert wrong == []
    tab.goto(f"{site.url}/-/")
    registered = "navigator.serviceWorker.getRegistrations().then(r => r.length)"
    assert tab.evaluate(registered) == 0


def test_a_later_answer_does_not_take_the_policy_off_a_stored_page(
    site: Stack, tab: Page
) -> None:
    """Threat 135: a 304 replaces headers of what the browser has kept."""
    url = address(
        f"{site.url}/mallory/a/kept",
        "Content-Type: text/html",
        'ETag: "1"',
        "Cache-Control: no-cache",
        then="Content-Type: text/plain\r\nContent-Security-Policy: img-src *",
    )
    for _ in range(2):
        _, done = open_page(tab, url)
        assert done == []


def test_cookies_of_one_tenant_reach_no_other_and_not_the_dashboard(
    site: Stack, tab: Page
) -> None:
    """Threat 136: whatever path and domain a function asks for."""
    large = "x" * 4000
    asked = [
        "Set-Cookie: root=1; Path=/",
        "Set-Cookie: bare=1",
        "Set-Cookie: wide=1; Path=/; Domain=127.0.0.1",
        "Set-Cookie: above=1; path=/alice",
        "Set-Cookie: other=1; Path=/mallory",
        "Set-Cookie: mine=1; Path=/alice/a/seen",
        "Set-Cookie: dots=1; Path=/alice/a/../../mallory",
        f"Set-Cookie: long=1; Path=/alice/a/{'x' * 2000}",
        'Set-Cookie: quoted=1; Path="/"',
        "Set-Cookie: twice=1; Path=/alice/a; Path=/",
        "Set-Cookie: zerverless_session=1; Path=/",
        "Set-Cookie: zerverless_theme=dark; Path=/-/",
        "Set-Cookie: __Host-own=1; Path=/; Secure",
    ]
    tab.goto(address(f"{site.url}/alice/a", "Content-Type: text/plain", *asked))
    for number in range(3):
        big = f"Set-Cookie: big{number}={large}; Path=/"
        tab.goto(address(f"{site.url}/alice/a", "Content-Type: text/plain", big))

    def seen(path: str) -> set[str]:
        text = tab.goto(site.url + path + "?h=Content-Type:text/plain")
        assert text is not None
        pairs = text.json().split("; ") if text.json() else []
        return {pair.partition("=")[0] for pair in pairs}

    own = {"root", "bare", "wide", "above", "other", "dots", "long", "quoted", "twice"}
    assert seen("/alice/a/seen") == own | {"mine", "big0", "big1", "big2"}
    assert seen("/mallory/a/seen") == set()
    dashboard = tab.goto(f"{site.url}/-/")
    assert dashboard is not None
    sent = dashboard.request.all_headers().get("cookie", "")
    assert (dashboard.status, "big" in sent) == (200, False)
    expect(tab.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_namespaces_own_host_is_an_origin_of_its_own(site: Stack, tab: Page) -> None:
    """Threat 137: browser applications work there, and reach no other origin."""
    own = site.url.replace("127.0.0.1", "alice.localhost") + "/a"
    html = "Content-Type: text/html"
    wide = "Set-Cookie: wide=1; Domain=localhost; Path=/"
    answer, done = open_page(tab, address(f"{own}/page", html, wide))
    assert answer is not None
    assert "content-security-policy" not in answer.headers
    assert isinstance(done, list)
    assert "a cookie" in done
    assert "read a token" not in done
    works = """async () => {
        localStorage.setItem('a', 'b');
        const module = document.createElement('script');
        module.type = 'module';
        module.src = '/a/module.js?h=Content-Type:text/javascript';
        const loaded = new Promise((yes, no) => {
            module.onload = yes; module.onerror = no;
        });
        document.head.append(module);
        await loaded;
        const seen = await (await fetch('/a/seen')).json();
        return [localStorage.getItem('a'), window.ran, seen.includes('wide=1')];
    }"""
    assert tab.evaluate(works) == ["b", 1, True]
    reach = "url => fetch(url).then(() => 'read', () => 'refused')"
    assert tab.evaluate(reach, f"{site.url}/-/") == "refused"
    tab.evaluate("document.cookie = 'wide=2; domain=localhost; path=/'")
    for outside in ("127.0.0.1", "localhost", "mallory.localhost"):
        cookies = tab.context.cookies(site.url.replace("127.0.0.1", outside))
        assert "wide" not in {cookie["name"] for cookie in cookies}
    for path in ("/", "/-/", "/-/login", "/admin/", "/metrics", "/livez"):
        answer = tab.goto(site.url.replace("127.0.0.1", "alice.localhost") + path)
        assert answer is not None
        assert answer.status == 404, path


def test_an_error_page_is_styled_and_names_the_request(
    site: Stack, context: BrowserContext, tab: Page
) -> None:
    """In light and dark, on a phone and a screen, with a policy that allows nothing."""
    said: list[str] = []

    def console(message: ConsoleMessage) -> None:
        said.append(message.text)

    tab.on("console", console)
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", DARK)):
        tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (375, 1280):
            tab.set_viewport_size({"width": width, "height": 700})
            answer = tab.goto(f"{site.url}/nobody/{'x' * 200}")
            assert answer is not None
            assert answer.status == 404
            main = tab.get_by_role("main")
            expect(main.get_by_role("heading", level=1)).to_have_text(
                "No function here"
            )
            expect(main).to_contain_text(answer.headers["x-request-id"])
            expect(tab.locator("body")).to_have_css("background-color", background)
            wide = "document.documentElement.scrollWidth - innerWidth"
            assert tab.evaluate(wide) <= 0
    assert not [text for text in said if "Content Security Policy" in text]
