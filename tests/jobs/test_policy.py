import math
from dataclasses import dataclass
from typing import Any

import pytest

from app.jobs.errors import InvalidSubmission
from app.jobs.policy import (
    Jitter,
    Limits,
    Policy,
    RetryPolicy,
    lineage,
    resolve,
    type_name,
)
from app.jobs.submission import Submission
from telemetry.names import Priority


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a decorator may say."""

    priority: Priority | None = None
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    deadline_s: float | None = None
    max_attempts: int | None = None
    base_delay_s: float | None = None
    multiplier: float | None = None
    max_delay_s: float | None = None
    jitter: Jitter | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    never_on: tuple[type[BaseException], ...] = ()


class FlakyError(OSError):
    """A type that is not built in."""


def submission(**fields: Any) -> Submission:
    return Submission.model_validate({"operation": "op", **fields})


def test_where_nobody_says_anything_the_standard_holds() -> None:
    assert resolve(submission(), Defaults(), Limits()) == Policy()
    assert Policy().retry.max_attempts == 1


def test_the_submission_goes_over_the_decorator_and_that_over_the_standard() -> None:
    defaults = Defaults(priority=Priority.LOW, timeout_s=30, deadline_s=100)

    policy = resolve(submission(timeout_s=5, concurrency_key="k"), defaults, Limits())

    assert (policy.timeout_s, policy.deadline_s, policy.queue_timeout_s) == (5, 100, None)
    assert (policy.priority, policy.concurrency_key) == (Priority.LOW, "k")


def test_a_submitted_retry_is_laid_over_the_decorators_field_by_field() -> None:
    defaults = Defaults(max_attempts=3, base_delay_s=9, jitter="none")

    retry = resolve(submission(retry={"base_delay_s": 0}), defaults, Limits()).retry

    assert (retry.max_attempts, retry.base_delay_s, retry.jitter) == (3, 0, "none")
    assert retry.max_delay_s == RetryPolicy().max_delay_s


def test_exception_types_are_kept_by_name() -> None:
    defaults = Defaults(retry_on=(OSError, FlakyError), never_on=(KeyError,))

    retry = resolve(submission(), defaults, Limits()).retry

    assert retry.retry_on == {"OSError", type_name(FlakyError)}
    assert retry.never_on == {"KeyError"}


def test_what_is_above_the_servers_limits_is_refused_and_every_such_field_named() -> None:
    asked = submission(
        timeout_s=11,
        deadline_s=10,
        attach_timeout_s=12,
        retry={"max_attempts": 6, "max_delay_s": 13},
    )

    with pytest.raises(InvalidSubmission) as caught:
        resolve(asked, Defaults(), Limits(max_timeout_s=10, max_attempts=5))

    assert [each["loc"] for each in caught.value.errors] == [
        ["timeout_s"],
        ["attach_timeout_s"],
        ["retry", "max_delay_s"],
        ["retry", "max_attempts"],
    ]
    assert "timeout_s: must be at most 10, the limit of this server; it is 11" in str(caught.value)


def test_the_decorator_is_not_bound_by_the_limits_on_submissions() -> None:
    policy = resolve(submission(), Defaults(timeout_s=99), Limits(max_timeout_s=10))

    assert policy.timeout_s == 99


def test_the_server_sets_the_cap_on_retry_later() -> None:
    policy = resolve(submission(), Defaults(), Limits(retry_later_limit=7))

    assert policy.retry_later_limit == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"base_delay_s": -1},
        {"base_delay_s": math.nan},
        {"multiplier": 0.5},
        {"max_delay_s": math.inf},
    ],
)
def test_a_retry_policy_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_a_type_is_told_with_its_module_unless_it_is_built_in() -> None:
    assert type_name(ValueError) == "ValueError"
    assert type_name(FlakyError) == f"{FlakyError.__module__}.FlakyError"


def test_a_lineage_is_the_type_and_its_ancestors_nearest_first() -> None:
    assert lineage(FlakyError) == (type_name(FlakyError), "OSError", "Exception", "BaseException")
