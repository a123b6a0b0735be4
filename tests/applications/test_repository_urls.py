"""What may be entered as a repository URL, and that nothing else reaches git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from applications import repository
from applications.errors import GitError
from tests.fixtures.git import Repository

LOCAL = [
    "/etc",
    "/var/lib/other.git",
    "file:///srv/repo.git",
    "file:/srv",
    "./x",
    "~/x",
]
DANGEROUS = [
    "ext::sh -c touch% /tmp/canary",
    "ext::sh",
    "fd::3",
    "-u./canary",
    "--upload-pack=touch",
    "ssh://-oProxyCommand=touch/x",
    "ssh://git@host/x.git",
    "git://host/x.git",
    "git@host:user/x.git",
    "host:x.git",
    "https::https://host/x.git",
    "HTTPS://host/x.git",
    "javascript://host/x",
    "https://-host/x.git",
]
MALFORMED = [
    "",
    "https://",
    "https:///x.git",
    "https://:443/x.git",
    "https://host:port/x.git",
    "https://host:99999/x.git",
    "https://[::1/x.git",
    "https://host/a b",
    "https://host/x.git\n",
    "https://host/x\0.git",
    "https://host/x\u202egit",
    "https://host/x\ud800",
    "https://host\\@other/x.git",
    "https://b\u00fccher.example/x.git",
    "https://host/" + "x" * 500,
]
SECRETS = [
    "https://user:token@host/x.git",
    "https://token@host/x.git",
    "https://@host/x.git",
    "https://host/x.git?access_token=token",
    "https://host/x.git#token",
]


@pytest.fixture
def https_only(settings: Any) -> None:
    """The default, whatever the environment of the test run says."""
    settings.ZERVERLESS_GIT_PROTOCOLS = ["https"]


@pytest.mark.parametrize("url", LOCAL)
@pytest.mark.usefixtures("https_only")
def test_local_paths_need_the_development_setting(url: str) -> None:
    """Threat 16."""
    with pytest.raises(GitError) as refused:
        repository.check_url(url)
    assert refused.value.code == "git:url"


@pytest.mark.parametrize("url", ["/srv/repo.git", "file:///srv/repo.git"])
def test_local_paths_are_accepted_under_it(url: str, git_allowed: None) -> None:
    """Threat 16."""
    repository.check_url(url)


@pytest.mark.parametrize("url", DANGEROUS + MALFORMED)
def test_what_is_not_an_address_is_refused(url: str, git_allowed: None) -> None:
    """Threat 17."""
    with pytest.raises(GitError) as refused:
        repository.check_url(url)
    assert refused.value.code == "git:url"


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.usefixtures("https_only")
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    """Threat 20."""
    with pytest.raises(GitError, match="must not hold") as refused:
        repository.check_url(url)
    assert "token@" not in refused.value.message
    assert "=token" not in refused.value.message


@pytest.mark.usefixtures("https_only")
def test_ssh_is_refused_by_name() -> None:
    with pytest.raises(GitError, match="ssh is not supported yet: use https://"):
        repository.check_url("git@github.com:user/repo.git")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/user/repo",
        "https://git.example.org:8443/a/b/c.git",
        "https://[2606:50c0:8000::153]/x.git",
        "https://host/%7Euser/caf%C3%A9.git",
        "http://127.0.0.1:3000/x.git",
    ],
)
def test_ordinary_addresses_are_accepted(url: str, git_allowed: None) -> None:
    repository.check_url(url)


def test_a_row_made_behind_the_forms_back_reaches_no_other_protocol(
    make_repo: Any, settings: Any
) -> None:
    """Threat 16: whoever wrote the URL, each use of it checks it again."""
    repo: Repository = make_repo("local", {"a": "b"})
    settings.ZERVERLESS_GIT_PROTOCOLS = ["https"]
    for url in (repo.file_url, str(repo.path), repo.url):
        with pytest.raises(GitError):
            repository.remote_heads(url)
        with pytest.raises(GitError):
            repository.fetch(url, repo.head, "main")


@pytest.mark.parametrize("branch", ["--upload-pack=touch canary", "-x", "a..b", "a\nb"])
def test_a_branch_cannot_be_an_option(make_repo: Any, branch: str) -> None:
    """Threat 17."""
    repo: Repository = make_repo("branch", {"a": "b"})
    with pytest.raises(GitError) as refused:
        repository.fetch(repo.url, repo.head, branch)
    assert refused.value.code == "git:branch"


@pytest.mark.parametrize("sha", ["--all", "HEAD", "main", "0" * 39, "A" * 40, "0" * 41])
def test_a_commit_is_named_by_its_whole_id(make_repo: Any, sha: str) -> None:
    """Threat 17."""
    repo: Repository = make_repo("sha", {"a": "b"})
    with pytest.raises(GitError):
        repository.fetch(repo.url, sha, "main")
    with pytest.raises(GitError), repository.open_snapshot(repo.url, sha):
        pass


def test_the_callers_own_git_configuration_has_no_say(
    make_repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 26: a URL rewrite, a proxy or a hook path of the account is not used."""
    repo: Repository = make_repo("config", {"a": "b"})
    config = tmp_path / "gitconfig"
    config.write_text('[url "file:///nowhere/"]\n\tinsteadOf = http://\n')
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG"):
        monkeypatch.setenv(name, str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_EXEC_PATH", str(tmp_path))
    repository.fetch(repo.url, repo.head, "main")
    with repository.open_snapshot(repo.url, repo.head) as snapshot:
        assert snapshot.read("a", 10) == b"b"
