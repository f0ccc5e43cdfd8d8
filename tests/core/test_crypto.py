"""Tokens, wrapped keys, ciphertexts."""

import base64
import re
from uuid import uuid4

import pytest

from backend.core import crypto
from backend.core.auth import PERMISSIONS, permissions_of

pytestmark = pytest.mark.unit

MASTER = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.urlsafe_b64encode(bytes(range(1, 33))).decode().rstrip("=")


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {crypto.new_token("my") for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"my_[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert all(re.fullmatch(r"MYAK[A-Z2-7]{16}", crypto.new_access_key_id()) for _ in range(100))


def test_a_token_hash_is_its_sha256() -> None:
    assert crypto.hash_token("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_wrapped_key_opens_with_its_master_key_and_context_only() -> None:
    kms, key = crypto.LocalKms(MASTER), bytes(32)
    wrapped = kms.wrap(key, b"context")
    assert kms.unwrap(wrapped, b"context") == key
    assert kms.wrap(key, b"context") != wrapped
    for other, damaged, context in (
        (crypto.LocalKms(OTHER), wrapped, b"context"),
        (kms, wrapped, b"another"),
        (kms, wrapped[:-1], b"context"),
        (kms, b"\x02" + wrapped[1:], b"context"),
        (kms, b"", b"context"),
    ):
        with pytest.raises(crypto.Undecipherable):
            other.unwrap(damaged, context)


def test_a_ciphertext_opens_with_its_key_and_purpose_only() -> None:
    key_id, key = uuid4(), bytes(range(32))
    sealed = crypto.encrypt(key_id, key, b"secret", purpose=b"p")
    assert crypto.key_id_of(sealed) == key_id
    assert crypto.decrypt(key, sealed, purpose=b"p") == b"secret"
    changed = bytearray(sealed)
    changed[-1] ^= 1
    for data_key, text, purpose in (
        (bytes(32), sealed, b"p"),
        (key, sealed, b"q"),
        (key, bytes(changed), b"p"),
        (key, sealed[:20], b"p"),
        (key, b"\x02" + sealed[1:], b"p"),
    ):
        with pytest.raises(crypto.Undecipherable):
            crypto.decrypt(data_key, text, purpose=purpose)


@pytest.mark.parametrize("text", ["", "short", "!" * 44, base64.b64encode(bytes(31)).decode()])
def test_what_is_no_master_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="master key"):
        crypto.LocalKms(text)


def test_derived_keys_differ_by_purpose_and_stay() -> None:
    assert crypto.derive_key(MASTER, "a") == crypto.derive_key(MASTER, "a")
    assert len({crypto.derive_key(MASTER, "a"), crypto.derive_key(MASTER, "b"), crypto.derive_key(OTHER, "a")}) == 3


def test_scopes_narrow_and_never_widen() -> None:
    assert permissions_of("viewer", ["read", "write", "manage"]) == {"read"}
    assert permissions_of("owner") == PERMISSIONS["owner"]
    assert permissions_of("nobody", ["read"]) == frozenset()
