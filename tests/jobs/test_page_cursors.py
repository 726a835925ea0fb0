import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.errors import InvalidCursor
from app.jobs.page_cursors import PageCursors

numbers = st.integers(1, 2**63 - 1)
KEY = bytes(32)


@given(numbers, st.text())
def test_a_cursor_is_opened_by_the_tenant_it_was_sealed_for(number: int, tenant: str) -> None:
    cursors = PageCursors(KEY)

    assert cursors.opened(cursors.sealed(number, tenant), tenant) == number


@given(numbers, st.tuples(st.text(), st.text()).filter(lambda each: each[0] != each[1]))
def test_nobody_else_opens_it(number: int, tenants: tuple[str, str]) -> None:
    sealed = PageCursors(KEY).sealed(number, tenants[0])

    with pytest.raises(InvalidCursor):
        PageCursors(KEY).opened(sealed, tenants[1])
    with pytest.raises(InvalidCursor):
        PageCursors(bytes([1]) * 32).opened(sealed, tenants[0])


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{32}", fullmatch=True))
def test_what_was_not_sealed_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        PageCursors(KEY).opened(cursor, "acme")


@given(numbers, st.integers(1, 1000))
def test_cursors_of_near_numbers_have_nothing_in_common(number: int, later: int) -> None:
    one, other = (PageCursors(KEY).sealed(each, "acme") for each in (number, number + later))

    assert one[:8] != other[:8]
    assert str(number) not in one or number < 1000
