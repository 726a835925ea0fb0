import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st

from app.access.key_text import hash_of, id_of, new_key


def test_a_new_key_has_a_public_id_and_a_secret_of_256_bits() -> None:
    key = new_key(os.urandom)

    prefix, key_id, secret = key.split("_", 2)
    assert prefix == "nk"
    assert id_of(key) == key_id
    assert (len(key_id), len(secret)) == (12, 43)


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
def test_every_random_number_makes_a_key_of_the_form(for_id: bytes, for_secret: bytes) -> None:
    key = new_key(lambda size: {8: for_id, 32: for_secret}[size])

    assert id_of(key) == key[3:15]


@given(st.sets(st.binary(min_size=32, max_size=32)))
def test_other_secrets_make_other_keys(random: set[bytes]) -> None:
    assert len({_key_of(each) for each in random}) == len(random)


def _key_of(random: bytes) -> str:
    return new_key(lambda size: random[:size])


def test_what_has_another_form_has_no_id() -> None:
    key = new_key(os.urandom)

    for other in ("", key[:-1], key + "x", key.upper(), " " + key, key + "\n", "nk_" + "é" * 56):
        assert id_of(other) is None


def test_the_hash_is_sha_256_of_the_whole_text() -> None:
    key = new_key(os.urandom)

    assert hash_of(key) == hashlib.sha256(key.encode()).hexdigest()


@given(st.text())
def test_any_text_has_a_hash(text: str) -> None:
    assert len(hash_of(text)) == 64
    assert len(hash_of("\ud800")) == 64
