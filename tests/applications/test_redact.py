"""Credentials do not survive in any form they are met in. Threat 21."""

from __future__ import annotations

import base64

import pytest

from applications.redact import redact

SECRET = "s3cr3t-t0ken"
BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"fatal: unable to access 'https://user:{SECRET}@host/x.git/': no",
        f"https://{SECRET}@host/x.git",
        f"https://user:p@{SECRET}@host/x.git",
        f"https://user:%40{SECRET}@host/x.git",
        f"https%3A%2F%2Fuser%3A{SECRET}%40host%2Fx.git",
        f"https://host/x.git?access_token={SECRET}",
        f"https://host/x.git?a=1&private_token={SECRET}&b=2",
        f"next=%2Fx%3Faccess_token%3D{SECRET}%26b%3D2",
        f"Authorization: Bearer {SECRET}",
        f"Authorization: {SECRET}",
        f"> Authorization: Basic {BASIC}",
        f"http.extraHeader=AUTHORIZATION: basic {BASIC}",
        f"sent Basic {BASIC}",
        f"PRIVATE-TOKEN: {SECRET}",
        f"remote: ghp_{SECRET.replace('-', '')}abc is revoked",
    ],
)
def test_a_credential_is_taken_out(text: str) -> None:
    cleaned = redact(text)
    assert SECRET not in cleaned
    assert SECRET.replace("-", "") not in cleaned
    assert BASIC not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "fatal: repository 'https://host/user/repo.git/' not found",
        "a basic understanding of bearer channels",
        "mail ada@example.org about https://host/x",
        "tokenizer=fast is not here, unsigned=1",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_what_follows_a_credential_stays_readable() -> None:
    assert redact(f"https://h/x?token={SECRET}&b=2") == "https://h/x?token=***&b=2"
    assert redact(f"https://u:{SECRET}@h/x") == "https://***@h/x"
