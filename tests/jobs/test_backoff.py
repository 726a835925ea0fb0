from hypothesis import given
from hypothesis import strategies as st

from app.jobs.backoff import ceiling_s, delay_s
from app.jobs.policy import Jitter, RetryPolicy

seconds = st.floats(min_value=0, max_value=1e9)
policies = st.builds(
    RetryPolicy,
    base_delay_s=seconds,
    multiplier=st.floats(min_value=1, max_value=1000),
    max_delay_s=seconds,
    jitter=st.sampled_from(["full", "none"]),
)
draws = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=10_000)


@given(policies, attempts, draws)
def test_no_delay_is_negative_or_above_its_cap(
    retry: RetryPolicy, attempt: int, draw: float
) -> None:
    assert 0 <= delay_s(retry, attempt, lambda: draw) <= retry.max_delay_s


@given(policies, attempts)
def test_the_longest_delay_never_shrinks_from_attempt_to_attempt(
    retry: RetryPolicy, attempt: int
) -> None:
    assert ceiling_s(retry, attempt) <= ceiling_s(retry, attempt + 1)


@given(policies, attempts, draws)
def test_full_jitter_draws_evenly_below_the_longest_delay(
    retry: RetryPolicy, attempt: int, draw: float
) -> None:
    ceiling = ceiling_s(retry, attempt)
    jitter: Jitter = retry.jitter

    expected = ceiling if jitter == "none" else draw * ceiling

    assert expected == delay_s(retry, attempt, lambda: draw)


def test_the_delay_doubles_up_to_its_cap() -> None:
    retry = RetryPolicy(base_delay_s=1, multiplier=2, max_delay_s=10, jitter="none")

    assert [delay_s(retry, n, lambda: 0.5) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_the_ten_thousandth_attempt_does_not_overflow() -> None:
    assert ceiling_s(RetryPolicy(multiplier=2, max_delay_s=60), 10_000) == 60
    assert ceiling_s(RetryPolicy(base_delay_s=0), 10_000) == 0
