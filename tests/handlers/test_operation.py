import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from app.handlers.context import JobContext
from app.handlers.discovery import operations_of
from app.handlers.errors import TargetError
from app.handlers.lifespan import Resources
from app.handlers.operation import HandlerKind, Operation, mark_of, operation
from app.jobs.policy import Limits, Policy, resolve
from app.jobs.submission import Submission
from telemetry.names import Priority


class Silent:
    """A sink that keeps nothing."""

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Keep nothing."""

    def output(self, chunk: Any) -> None:
        """Keep nothing."""

    def checkpoint(self, value: Any) -> None:
        """Keep nothing."""


def made(function: Callable[..., Any]) -> Operation:
    (found,) = operations_of([function])
    return found


@operation
def plain(x: int = 1) -> int:
    """Add one.

    And say so.
    """
    return x + 1


def test_a_marked_function_is_called_like_any_other() -> None:
    assert plain(2) == 3


def test_name_and_description_come_from_the_function() -> None:
    found = made(plain)

    assert (found.name, found.summary) == ("plain", "Add one.")
    assert found.description == "Add one.\n\nAnd say so."


def test_a_name_may_be_given_either_way() -> None:
    @operation("by-position")
    def one() -> None: ...

    @operation(name="by.keyword", timeout_s=3)
    def two() -> None: ...

    assert [each.name for each in operations_of([one, two])] == ["by-position", "by.keyword"]


def test_a_decorator_above_or_below_keeps_the_mark() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    @logged
    @operation("outside")
    def one(x: int) -> int:
        return x

    @operation("inside")
    @logged
    def two(x: int) -> int:
        return x

    assert list(made(one).schema["properties"]) == ["x"]
    assert list(made(two).schema["properties"]) == ["x"]


@operation
async def on_loop() -> None: ...


@operation
async def on_loop_streaming() -> AsyncIterator[int]:
    yield 1


@operation
def streaming() -> Iterator[int]:
    yield 1


@operation(isolation="process")
async def isolated() -> None: ...


@pytest.mark.parametrize(
    ("function", "kind", "generator"),
    [
        (plain, HandlerKind.THREAD, False),
        (streaming, HandlerKind.THREAD, True),
        (on_loop, HandlerKind.COROUTINE, False),
        (on_loop_streaming, HandlerKind.COROUTINE, True),
        (isolated, HandlerKind.PROCESS, False),
    ],
)
def test_the_kind_follows_from_the_function(
    function: Callable[..., Any], kind: HandlerKind, generator: bool
) -> None:
    found = made(function)

    assert (found.kind, found.generator) == (kind, generator)


def test_the_context_is_bound_to_every_parameter_that_asks() -> None:
    @operation
    def asks(x: int, job: JobContext, same: JobContext | None = None) -> None: ...

    job = JobContext(id="j", attempt=1, sink=Silent())
    assert made(asks).bind({"x": 1}, job, Resources()) == {"x": 1, "job": job, "same": job}


def test_what_the_decorator_says_becomes_the_policy() -> None:
    @operation(
        timeout_s=30,
        max_attempts=3,
        base_delay_s=0,
        jitter="none",
        retry_on=OSError,
        never_on=[FileNotFoundError],
        priority="high",
        concurrency=4,
        disclose=["db.statement"],
    )
    def told() -> None: ...

    found = made(told)
    policy = resolve(Submission(operation="told"), found.defaults, Limits())
    assert (policy.timeout_s, policy.priority) == (30, Priority.HIGH)
    assert (policy.retry.max_attempts, policy.retry.base_delay_s) == (3, 0)
    assert policy.retry.retry_on == {"OSError"}
    assert policy.retry.never_on == {"FileNotFoundError"}
    assert found.defaults.concurrency == 4
    assert found.disclose == {"db.statement"}


def test_what_the_decorator_does_not_say_is_the_standard() -> None:
    assert resolve(Submission(operation="plain"), made(plain).defaults, Limits()) == Policy()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_s": 0}, "timeout_s must be a finite number of more than 0, not 0"),
        ({"timeout_s": math.nan}, "timeout_s must be a finite number"),
        ({"deadline_s": math.inf}, "deadline_s must be a finite number"),
        ({"queue_timeout_s": "1"}, "queue_timeout_s must be a finite number"),
        ({"base_delay_s": -1}, "base_delay_s must be a finite number of at least 0"),
        ({"multiplier": 0.5}, "multiplier must be a finite number of at least 1"),
        ({"max_attempts": 0}, "max_attempts must be an integer of at least 1, not 0"),
        ({"max_attempts": True}, "max_attempts must be an integer"),
        ({"concurrency": 1.5}, "concurrency must be an integer"),
        ({"key_concurrency": 0}, "key_concurrency must be an integer"),
        ({"isolation": "fork"}, "isolation must be one of auto, process, not 'fork'"),
        ({"jitter": "some"}, "jitter must be one of full, none"),
        ({"priority": "urgent"}, "priority must be one of low, normal, high, critical"),
        ({"retry_on": ["OSError"]}, "retry_on takes exception types, not 'OSError'"),
        ({"never_on": int}, "never_on takes exception types"),
        ({"disclose": "db.statement"}, "disclose takes a list"),
        ({"name": "no spaces"}, "an operation's name is 1 to 128 letters"),
        ({"name": ""}, "an operation's name"),
    ],
)
def test_an_illegal_option_is_refused_at_decoration(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        operation(**options)


def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TypeError, match="no option timeout; it has: isolation, timeout_s"):
        operation(timeout=3)  # type: ignore[call-overload]  # what is tested


def test_only_what_can_be_called_can_be_marked() -> None:
    with pytest.raises(TypeError, match="marks functions, not int"):
        operation("x")(3)  # type: ignore[type-var]  # what is tested


def test_what_is_not_marked_has_no_mark() -> None:
    assert mark_of(print) is None
    with pytest.raises(TargetError, match="decorate it with @operation"):
        operations_of([print])


def test_two_operations_of_one_name_are_refused() -> None:
    @operation("plain")
    def other() -> None: ...

    with pytest.raises(TargetError, match=r"two operations called 'plain'.*\(plain\)"):
        operations_of([plain, other])


def test_one_function_given_twice_is_taken_once() -> None:
    assert len(operations_of([plain, plain])) == 1


def test_a_process_needs_a_function_that_can_be_imported() -> None:
    @operation(isolation="process")
    def local() -> None: ...

    with pytest.raises(TargetError, match="at the top level of a module"):
        operations_of([local])


def test_our_own_telemetry_is_that_of_the_functions_package() -> None:
    assert made(plain).first_party == {__name__.partition(".")[0]}
