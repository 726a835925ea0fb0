import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.masking import MASK, PATTERNS, Pattern, cut, is_secret_name, masker

_alphabet = st.sampled_from(
    [
        *"ab1 :=\"'\\[](),;@/\n-.",
        "password",
        "token",
        "Bearer ",
        "authorization: ",
        "cookie: ",
        "eyJ",
        "://",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "--api-key ",
        MASK,
    ]
)
_hostile = st.lists(_alphabet, max_size=25).map("".join)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: {MASK}"),
        ("sent Bearer abc to it", f"sent Bearer {MASK} to it"),
        ("password=hunter2 user=ann", f"password={MASK} user=ann"),
        ("password: 'hunter 2'!", f"password: {MASK}!"),
        ('{"api_key": "k 1", "n": 1}', f'{{"api_key": {MASK}, "n": 1}}'),
        ("/login?token=abc&next=1", f"/login?token={MASK}&next=1"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+g", f"AWS_SECRET_ACCESS_KEY={MASK}"),
        ("dbPassword = x", f"dbPassword = {MASK}"),
        ("Cookie: a=b; c=d\nnext", f"Cookie: {MASK}\nnext"),
        ('"set-cookie": ["a=b", "c=d"]', f'"set-cookie": {MASK}'),
        ("jwt eyJhbGci.eyJzdWIi.c2ln here", f"jwt {MASK} here"),
        ("postgres://ann:p@ss@host/db", f"postgres://ann:{MASK}@host/db"),
        ("curl --api-key XYZ -v", f"curl --api-key {MASK} -v"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
            f"a\n{MASK}\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMII cut off", MASK),
    ],
)
def test_a_secret_is_masked_and_its_key_stays(text: str, masked: str) -> None:
    assert masker()(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Loading scene barn, frame 12 of 24",
        "max_tokens: 100, tokens=12, token_count=3",
        "ready at http://127.0.0.1:8000/v1/jobs",
        "concurrency_key=barn",
        "the secret of narration is timing",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert masker()(text) == text


def test_configured_secrets_are_masked_wherever_they_stand() -> None:
    mask = masker(["s3cr.t", "s3cr.t-longer"])

    assert mask("a s3cr.t-longer/s3cr.t s3crxt") == f"a {MASK}/{MASK} s3crxt"


def test_an_empty_or_tiny_configured_secret_masks_nothing() -> None:
    assert masker(["", "a"])("a banana") == "a banana"


def test_patterns_may_be_chosen() -> None:
    tag = Pattern(name="tag", expression=re.compile("X[0-9]+"), replacement="X?", hints=("x",))

    assert masker(patterns=(tag,))("X12") == "X?"
    assert masker(patterns=(tag,))("password=x") == "password=x"


def test_patterns_have_names_of_their_own() -> None:
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS)


@given(_hostile)
def test_masking_twice_is_masking_once(text: str) -> None:
    mask = masker(["a1b1"])

    assert mask(mask(text)) == mask(text)


@given(_hostile, _hostile)
def test_a_configured_secret_never_survives(before: str, after: str) -> None:
    assert "q7q7q7" not in masker(["q7q7q7"])(f"{before}q7q7q7{after}")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db.passwd",
        "http.request.header.authorization",
        "accessToken",
        "client_secret",
        "X-Api-Key",
        "set-cookie",
        "auth",
        "aws.credentials",
    ],
)
def test_a_key_that_names_a_secret_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "token_count", "author", "key", "job.operation"])
def test_other_keys_are_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


@given(st.text(), st.integers(min_value=-1, max_value=40))
def test_a_cut_keeps_a_prefix_of_whole_code_points_within_the_limit(text: str, limit: int) -> None:
    kept, length = cut(text, limit)
    size = len(text.encode())

    assert text.startswith(kept)
    assert len(kept.encode()) <= max(0, limit)
    assert length == (None if size <= max(0, limit) else size) or (size == 0 and limit < 0)
