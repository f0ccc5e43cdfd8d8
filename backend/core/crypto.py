"""Cryptography that is ours to arrange, none that is ours to invent.

Tokens: 256 random bits, stored only as their SHA-256. (A slow hash protects low-entropy passwords; a random token
needs none, and each request pays for it.)

Envelope encryption: each organization has a data key, AES-256-GCM, stored wrapped by the KMS's master key. A
ciphertext names its data key, and is bound (as associated data) to its organization and its purpose, so that
it cannot be moved to another row. Destroying the wrapped data key shreds all it encrypted.

    ciphertext = 0x01 ‖ data key's id (16 bytes) ‖ nonce (12 bytes) ‖ AES-256-GCM output
    wrapped    = 0x01 ‖ nonce (12 bytes) ‖ AES-256-GCM(master key, data key; associated data: the key's id)
"""

import base64
import binascii
import hashlib
import secrets
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
_VERSION = b"\x01"
_HEADER_BYTES = 1 + 16 + NONCE_BYTES
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Undecipherable(Exception):
    """The ciphertext is damaged, of another purpose, or its key is gone."""


def new_token(prefix: str) -> str:
    """`<prefix>_` and 256 random bits in base64url."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> bytes:
    """What is stored of a token and looked up: its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_access_key_id() -> str:
    """`MYAK` and 16 characters of base32: names a key, opens nothing."""
    return "MYAK" + "".join(secrets.choice(_BASE32) for _ in range(16))


class Kms(Protocol):
    """Who holds the master key. `context` must be the same for both, and is not secret."""

    name: str

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The data key, encrypted under the master key."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The data key. Raises Undecipherable."""


class LocalKms:
    """A master key in this process's settings (base64 of 32 bytes). Raises ValueError for any other."""

    name = "local"

    def __init__(self, master_key: str) -> None:
        self._cipher = AESGCM(_decode_key(master_key))

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The data key, encrypted under the master key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, data_key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The data key. Raises Undecipherable."""
        nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        if wrapped[:1] != _VERSION:
            raise Undecipherable("a wrapped key of unknown version")
        try:
            return self._cipher.decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError) as error:
            raise Undecipherable("the master key does not open this data key") from error


def encrypt(key_id: UUID, data_key: bytes, plaintext: bytes, *, purpose: bytes) -> bytes:
    """AES-256-GCM under a data key, naming it; `purpose` is bound, not stored."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return _VERSION + key_id.bytes + nonce + AESGCM(data_key).encrypt(nonce, plaintext, purpose)


def key_id_of(ciphertext: bytes) -> UUID:
    """Which data key a ciphertext needs. Raises Undecipherable."""
    if len(ciphertext) < _HEADER_BYTES or ciphertext[:1] != _VERSION:
        raise Undecipherable("not a ciphertext of a known version")
    return UUID(bytes=ciphertext[1:17])


def decrypt(data_key: bytes, ciphertext: bytes, *, purpose: bytes) -> bytes:
    """The plaintext. Raises Undecipherable."""
    key_id_of(ciphertext)
    try:
        return AESGCM(data_key).decrypt(ciphertext[17:_HEADER_BYTES], ciphertext[_HEADER_BYTES:], purpose)
    except (InvalidTag, ValueError) as error:
        raise Undecipherable("the ciphertext is damaged or of another purpose") from error


def derive_key(master_key: str, purpose: str) -> bytes:
    """32 bytes for one purpose (such as signing CSRF tokens), by HKDF-SHA256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(_decode_key(master_key))


def _decode_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("the master key is not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"the master key has {len(key)} bytes, not {KEY_BYTES}")
    return key
