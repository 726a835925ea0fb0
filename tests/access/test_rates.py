import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.rates import Rates


def test_without_a_rate_nobody_is_limited() -> None:
    rates = Rates(0)

    assert {rates.take("a", 0.0) for _ in range(1000)} == {0.0}


def test_a_burst_is_let_through_and_then_one_at_a_time() -> None:
    rates = Rates(2, burst=3)

    assert [rates.take("a", 10.0) for _ in range(3)] == [0.0] * 3
    assert rates.take("a", 10.0) == pytest.approx(0.5)
    assert rates.take("a", 10.5) == 0.0
    assert rates.take("a", 10.5) == pytest.approx(0.5)


def test_who_comes_back_when_told_is_let_in() -> None:
    rates = Rates(3)
    now = 0.0
    for _ in range(100):
        wait_s = rates.take("a", now)
        if wait_s:
            now += wait_s
            assert rates.take("a", now) == 0.0


def test_one_tenant_takes_nothing_from_another() -> None:
    rates = Rates(1)
    while not rates.take("a", 0.0):
        pass

    assert rates.take("b", 0.0) == 0.0


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_in_no_time_more_pass_than_the_burst_and_what_the_rate_gives(
    per_s: float, burst: int, pauses: list[float]
) -> None:
    rates, now, passed = Rates(per_s, burst=burst), 0.0, 0
    for pause in pauses:
        now += pause
        passed += rates.take("a", now) == 0.0

        assert passed <= burst + per_s * now + 1e-6
