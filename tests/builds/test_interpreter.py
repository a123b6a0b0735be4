"""Commands that run what a caller sends, told from those that run the image's own."""

from __future__ import annotations

import pytest

from builds.interpreter import problem

REFUSED = [
    (["python3"], 'CMD ["python3", "app.py"]'),
    (["/usr/local/bin/python3.11", "-u"], 'python3.11", "app.py"]'),
    (["python", "-"], "app.py"),
    (["python3", "-i", "-q"], "app.py"),
    (["docker-entrypoint.sh", "node"], 'CMD ["node", "server.js"]'),
    (["/usr/local/bin/docker-entrypoint.sh", "node", "-i"], "server.js"),
    (["docker-php-entrypoint", "php", "-a"], "app.php"),
    (["sh"], 'CMD ["sh", "run.sh"]'),
    (["/bin/sh"], "run.sh"),
    (["bash", "-l"], "run.sh"),
    (["bash", "--login"], "run.sh"),
    (["sh", "-s", "x"], "run.sh"),
    (["busybox", "sh"], "run.sh"),
    (["/bin/sh", "-c", "python3"], "app.py"),
    (["/bin/sh", "-c", "exec python3 -u"], "app.py"),
    (["/usr/bin/env", "-i", "PATH=/bin", "bash"], "run.sh"),
    (["tini", "-g", "--", "ruby"], "app.rb"),
    (["irb"], "app.rb"),
    (["perl", "-w"], "app.pl"),
    (["lua5.4"], "app.lua"),
    (["/__cacert_entrypoint.sh", "jshell"], "App.java"),
    (["R", "--no-save"], "app"),
]
LET_BE = [
    ["python3", "app.py"],
    ["python3", "-u", "-m", "app"],
    ["python3", "-um", "app"],
    ["python", "-c", "print(1)"],
    ["python", "-W", "ignore", "app.py"],
    ["node", "server.js"],
    ["node", "-e", "console.log(1)"],
    ["node", "--eval=1"],
    ["docker-entrypoint.sh", "node", "server.js"],
    ["docker-entrypoint.sh", "postgres"],
    ["sh", "-c", "echo hello"],
    ["sh", "-c", "while read line; do echo $line; done"],
    ["sh", "-c", "python3 app.py"],
    ["sh", "-c", "python3 < /app.py"],
    ["bash", "-ec", "python3 app.py"],
    ["sh", "/run.sh"],
    ["/app"],
    ["/app/python-server"],
    ["env"],
    ["cat"],
    ["ruby", "-e", "puts 1"],
    ["php", "-S", "0.0.0.0:80"],
    ["php", "-r", "echo 1;"],
    ["perl", "-ne", "print"],
    ["sh", "-c", "unclosed 'quote"],
    [],
]


@pytest.mark.parametrize(("command", "line"), REFUSED)
def test_an_interpreter_of_the_body_is_refused(command: list[str], line: str) -> None:
    """Threat 142: whoever calls it would run code of their own."""
    said = problem(command)
    assert line in said
    assert f'"{" ".join(command)}"' in said


@pytest.mark.parametrize("command", LET_BE)
def test_a_program_of_the_images_own_is_let_be(command: list[str]) -> None:
    assert problem(command) == ""
