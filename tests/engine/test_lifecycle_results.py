"""What handlers return: any JSON within limits; what does not fit fails the attempt."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, model_serializer

from app.handlers.operation import operation
from tests.engine.harness import Bench, run


class _Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class _Point:
    x: int
    y: int


class _Scene(BaseModel):
    name: str
    at: dt.datetime


class _Hostile(BaseModel):
    """Its serializer is a user's code, and raises."""

    @model_serializer
    def tell(self) -> dict[str, Any]:
        """Raise."""
        raise KeyError("from the serializer")


class _Ends(BaseModel):
    """Its serializer wants to end the process."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @model_serializer
    def tell(self) -> dict[str, Any]:
        """Raise what is no `Exception`."""
        raise SystemExit(3)


def _cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _endless() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


def _returns(make: Callable[[], Any], **limits: Any) -> tuple[Bench, str]:
    """Run a job that returns what `make` gives."""
    found: list[tuple[Bench, str]] = []

    @operation
    async def give() -> Any:
        return make()

    async def test(bench: Bench) -> None:
        job = bench.submit("give")
        await bench.ended(job)
        bench.record(job).model_dump_json()  # whatever it is, it can be told
        found.append((bench, job))

    run(test, give, **limits)
    return found[0]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        (2**70, 2**70),
        ({"a": [1, 2.5, None]}, {"a": [1, 2.5, None]}),
        ((1, 2), [1, 2]),
        (_Point(1, 2), {"x": 1, "y": 2}),
        (_Colour.RED, "red"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (
            _Scene(name="n", at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
            {"name": "n", "at": "2026-01-02T00:00:00Z"},
        ),
        (b"bytes", "bytes"),
        (_nested(64), _nested(64)),
    ],
)
def test_a_result_is_told_as_json(value: Any, told: Any) -> None:
    bench, job = _returns(lambda: value)

    assert bench.record(job).result == told
    assert bench.events(job)[-1]["result"] == told


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (object, "the result is a object that JSON cannot carry"),
        (lambda: float("nan"), "not finite"),
        (lambda: {"deep": [float("-inf")]}, "not finite"),
        (lambda: 10**5000, "too many digits"),
        (lambda: "\ud800", "surrogates not allowed"),
        (lambda: b"\xff", "utf-8"),
        (_cycle, "Circular reference"),
        (lambda: _nested(65), "nested deeper than 64 levels"),
        (lambda: _nested(100_000), "JSON cannot carry"),
        (_Hostile, "from the serializer"),
        (_Ends, "the result is a _Ends that JSON cannot carry"),
        (_endless, "a generator is no value"),
        (lambda: lambda: None, "JSON cannot carry"),
    ],
)
def test_a_result_that_json_cannot_carry_fails_the_attempt(
    make: Callable[[], Any], why: str
) -> None:
    bench, job = _returns(make)
    record = bench.record(job)

    assert bench.state(job) == "failed/error"
    assert bench.outcomes(job) == ["error"]
    assert record.result is None
    assert record.failure is not None
    assert why in record.failure.message


def test_a_result_that_is_too_large_fails_the_attempt_and_says_how_large_it_is() -> None:
    bench, job = _returns(lambda: "x" * 200, max_result_bytes=100)
    failure = bench.record(job).failure

    assert failure is not None
    assert failure.message == "the result has 202 bytes of JSON; the limit is 100"


def test_an_unfit_result_is_retried_like_any_error() -> None:
    tries: list[int] = []

    @operation(max_attempts=3, base_delay_s=0)
    async def improves() -> Any:
        tries.append(1)
        return "fits" if len(tries) == 3 else object()

    async def test(bench: Bench) -> None:
        job = bench.submit("improves")
        record = await bench.ended(job)

        assert record.result == "fits"
        assert bench.outcomes(job) == ["error", "error", "completed"]

    run(test, improves)


def test_a_handler_that_changes_its_params_changes_only_its_own() -> None:
    seen: list[list[int]] = []

    @operation(max_attempts=2, base_delay_s=0)
    async def changes(numbers: list[int]) -> None:
        seen.append([*numbers])
        numbers.append(99)
        if len(seen) == 1:
            raise ValueError("no")

    async def test(bench: Bench) -> None:
        job = bench.submit("changes", {"numbers": [1]})
        record = await bench.ended(job)

        assert seen == [[1], [1]]
        assert record.params == {"numbers": [1]}

    run(test, changes)


@operation
async def keeps(value: Any) -> Any:
    return value


@operation(isolation="process")
def keeps_apart(value: Any) -> Any:
    return value


@pytest.mark.parametrize("handler", [keeps, keeps_apart])
def test_configured_secrets_are_masked_in_a_result_wherever_it_is_told(
    handler: Callable[..., Any],
) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(handler.__name__, {"value": {"hunter2": ["is hunter2", 5, None]}})
        record = await bench.ended(job)
        end = bench.events(job)[-1]

        assert record.result == {"[MASKED]": ["is [MASKED]", 5, None]}
        assert end["result"] == record.result

    run(test, handler, secrets=(SecretStr("hunter2"),))


@pytest.mark.parametrize(
    "value", ["token=abcdefgh", {"password": "swordfish"}, 1e22, -0.0, 2**63, "\u00e9\u2028"]
)
def test_what_only_looks_like_a_secret_stays_in_a_result(value: Any) -> None:
    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("keeps", {"value": value}))

        assert record.result == value

    run(test, keeps, secrets=(SecretStr("hunter2"),))


def test_a_result_that_its_mask_makes_too_large_is_refused() -> None:
    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("keeps", {"value": "abcd" * 10}))

        assert record.failure is not None
        assert "the result has 82 bytes of JSON; the limit is 50" in record.failure.message

    run(test, keeps, secrets=(SecretStr("abcd"),), max_result_bytes=50)
