"""Encrypts what has to be stored and given away again: passwords, tokens.

Whoever reads a copy of the database learns none of them; whoever also has the key,
which lies in the data directory, does. The first of several keys encrypts, every one
of them decrypts: a new one is put in front of the old one, and `again` moves a value.
"""

from __future__ import annotations

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from applications.errors import PlatformError


class Undecipherable(PlatformError):
    """A stored value was encrypted with a key that is not here."""

    code = "encryption:key"


def encrypt(text: str) -> str:
    """`text` as it may be stored; the same text is never stored the same way twice."""
    return _keys().encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """What was encrypted. Raises Undecipherable when no key of ours fits."""
    try:
        return _keys().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Undecipherable(
            "A stored secret cannot be read: it was encrypted with another key than "
            "the one in the data directory (encryption-key) or in "
            "ZERVERLESS_ENCRYPTION_KEY. Bring that key back, or enter the secret again."
        ) from None


def again(stored: str) -> str:
    """The same secret, encrypted with the newest key. Raises Undecipherable."""
    return encrypt(decrypt(stored))


def _keys() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in settings.ENCRYPTION_KEYS])


@cache
def _fernet(key: str) -> Fernet:
    """Fernet wants 32 bytes; a key of ours is any long random text."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"zerverless.encryption")
    return Fernet(base64.urlsafe_b64encode(derived.derive(key.encode())))
