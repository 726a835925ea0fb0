"""How long to wait before the next attempt: exponential, with full jitter.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the delay is
drawn evenly between nothing and the capped exponential, which spreads retries that failed together.
"""

from collections.abc import Callable

from app.jobs.policy import RetryPolicy


def ceiling_s(retry: RetryPolicy, attempt: int) -> float:
    """The longest delay, in seconds, after attempt number `attempt` (from 1)."""
    if retry.base_delay_s == 0:
        return 0.0
    try:
        grown = retry.base_delay_s * float(retry.multiplier) ** (attempt - 1)
    except OverflowError:  # far beyond any cap
        return retry.max_delay_s
    return min(retry.max_delay_s, grown)


def delay_s(retry: RetryPolicy, attempt: int, random: Callable[[], float]) -> float:
    """The delay, in seconds, before the attempt that follows attempt number `attempt` (from 1).

    `random` gives a number in [0, 1); without jitter it is not asked.
    """
    ceiling = ceiling_s(retry, attempt)
    return ceiling if retry.jitter == "none" else random() * ceiling
