from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from app.access.stream_tokens import StreamTokens

KEY: Final = "k7f3q2m4x5ab"
NOW: Final = 1_700_000_000_000_000_000


class Clock:
    """A wall clock that a test sets."""

    now = NOW

    def __call__(self) -> int:
        return self.now


def tokens(clock: Clock | None = None, secret: bytes = bytes(32)) -> StreamTokens:
    return StreamTokens(secret, life_s=60, wall_ns=clock or Clock())


def acme(key_id: str) -> str | None:
    """The one key that there is is of this tenant."""
    return "acme" if key_id == KEY else None


def test_a_token_opens_its_stream_until_its_end() -> None:
    clock = Clock()
    issuer = tokens(clock)
    issued = issuer.issue(stream="job:1", tenant="acme", key_id=KEY)

    assert issued.expires_ns == NOW + 60_000_000_000
    assert issuer.key_of(issued.token, stream="job:1", tenant_of=acme) == KEY
    clock.now = issued.expires_ns - 1
    assert issuer.key_of(issued.token, stream="job:1", tenant_of=acme) == KEY
    clock.now = issued.expires_ns
    assert issuer.key_of(issued.token, stream="job:1", tenant_of=acme) is None


def test_it_opens_no_other_stream_tenant_key_or_server() -> None:
    issuer = tokens()
    token = issuer.issue(stream="job:1", tenant="acme", key_id=KEY).token

    assert issuer.key_of(token, stream="job:2", tenant_of=acme) is None
    assert issuer.key_of(token, stream="feed", tenant_of=acme) is None
    assert issuer.key_of(token, stream="job:1", tenant_of=lambda _: "evil") is None
    assert issuer.key_of(token, stream="job:1", tenant_of=lambda _: None) is None
    assert tokens(secret=bytes([1] * 32)).key_of(token, stream="job:1", tenant_of=acme) is None


@given(st.data())
def test_a_token_with_any_bit_of_it_flipped_opens_nothing(data: st.DataObject) -> None:
    issuer = tokens()
    token = issuer.issue(stream="job:1", tenant="acme", key_id=KEY).token
    forged = bytearray(token.encode())
    place = data.draw(st.integers(0, len(forged) * 8 - 1))
    forged[place // 8] ^= 1 << place % 8
    told = issuer.key_of(forged.decode("latin-1"), stream="job:1", tenant_of=lambda _: "acme")

    assert told is None


@given(
    st.text() | st.from_regex(r"[1-9][0-9]{12}\.[a-z0-9]{12}\.[A-Za-z0-9_-]{43}", fullmatch=True)
)
def test_what_was_not_issued_opens_nothing(token: str) -> None:
    assert tokens().key_of(token, stream="job:1", tenant_of=lambda _: "acme") is None


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_streams_share_a_token(one: tuple[str, str], other: tuple[str, str]) -> None:
    issuer = tokens()
    token = issuer.issue(stream=one[0], tenant=one[1].replace("\0", ""), key_id=KEY).token
    tenant = other[1].replace("\0", "")
    opens = issuer.key_of(token, stream=other[0], tenant_of=lambda _: tenant) is not None

    assert opens == ((one[0], one[1].replace("\0", "")) == (other[0], tenant))


def test_the_longest_life_is_nothing_to_it_but_the_text_of_a_number_is() -> None:
    token = tokens().issue(stream="feed", tenant="acme", key_id=KEY).token
    expiry, _, rest = token.partition(".")

    for longer in (f"0{expiry}", f"{expiry}0", f"+{expiry}", f" {expiry}", f"{int(expiry) + 1}"):
        forged = f"{longer}.{rest}"
        assert tokens().key_of(forged, stream="feed", tenant_of=acme) is None
