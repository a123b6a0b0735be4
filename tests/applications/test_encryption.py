"""What is stored encrypted: with the newest key, readable with every key."""

from __future__ import annotations

from typing import Any

import pytest

from applications import encryption
from applications.encryption import Undecipherable


def test_a_secret_is_stored_unreadable_and_comes_back(settings: Any) -> None:
    """Threat 151."""
    settings.ENCRYPTION_KEYS = ["one"]
    secret = "pä ss\n\x00word"
    stored = encryption.encrypt(secret)
    assert "word" not in stored
    assert stored != encryption.encrypt(secret)
    assert encryption.decrypt(stored) == secret


def test_a_new_key_takes_over_from_an_old_one(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = ["old"]
    stored = encryption.encrypt("secret")
    settings.ENCRYPTION_KEYS = ["new", "old"]
    moved = encryption.again(stored)
    settings.ENCRYPTION_KEYS = ["new"]
    assert encryption.decrypt(moved) == "secret"
    with pytest.raises(Undecipherable, match="another key") as caught:
        encryption.decrypt(stored)
    assert stored not in caught.value.message
