import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from app.handlers.context import JobCancelled
from app.handlers.lifespan import Resources
from app.handlers.operation import HandlerKind, mark_of
from app.jobs.errors import InvalidParams
from app.operations import AllowedRoots, built_in_operations
from app.operations.samples import countdown, flaky, primes, recite
from narration.capture import capture
from tests.operations.conftest import Said


def test_countdown_tells_each_number_and_its_progress(said: Said) -> None:
    with capture() as captured:
        result = asyncio.run(countdown(3, 0, job=said.job()))

    assert result == "lift-off"
    assert captured.texts == ["3 …", "2 …", "1 …"]
    assert [step[:2] for step in said.steps] == [(1, 3), (2, 3), (3, 3)]


def test_flaky_fails_as_often_as_asked_and_then_succeeds(said: Said) -> None:
    for attempt in (1, 2):
        with pytest.raises(ConnectionError):
            flaky(2, job=said.job(attempt))

    assert flaky(2, job=said.job(3)) == {"attempts": 3}


def test_flaky_may_fail_as_often_as_its_schema_admits_and_still_succeed(said: Said) -> None:
    mark = mark_of(flaky)

    assert mark is not None
    assert mark.options.max_attempts is not None
    assert flaky(9, job=said.job(mark.options.max_attempts)) == {"attempts": 10}


def test_recite_gives_the_text_word_by_word(said: Said) -> None:
    assert list(recite("to be or", 0, job=said.job())) == ["to ", "be ", "or "]


def test_recite_stops_when_it_is_cancelled(said: Said) -> None:
    said.token.set("enough")

    with pytest.raises(JobCancelled):
        list(recite("to be", 60, job=said.job()))


def test_primes_are_counted_with_progress(said: Said) -> None:
    assert primes(10_000, job=said.job()) == {"count": 1229, "largest": 9973}
    assert said.steps == [(7919, 10_000, "1000 primes")]


def test_the_built_in_operations_show_all_four_kinds_of_handler() -> None:
    kinds = {each.name: (each.kind, each.generator) for each in built_in_operations()}

    assert kinds == {
        "catalogue": (HandlerKind.THREAD, False),
        "countdown": (HandlerKind.COROUTINE, False),
        "flaky": (HandlerKind.THREAD, False),
        "recite": (HandlerKind.THREAD, True),
        "primes": (HandlerKind.PROCESS, False),
    }


def test_every_built_in_operation_runs_with_its_defaults_and_describes_itself() -> None:
    for each in built_in_operations():
        assert each.validate({}) == {}
        assert each.summary.endswith(".")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("countdown", {"start": 0}),
        ("countdown", {"pause_s": -1}),
        ("countdown", {"pause_s": float("nan")}),
        ("flaky", {"failures": 10}),
        ("primes", {"below": 10**9}),
        ("catalogue", {"roots": ["/"]}),
        ("catalogue", {"path": 3}),
    ],
)
def test_params_out_of_range_are_refused(name: str, params: dict[str, Any]) -> None:
    operation = next(each for each in built_in_operations() if each.name == name)

    with pytest.raises(InvalidParams):
        operation.validate(params)


@pytest.mark.parametrize("given", [True, False])
def test_the_allowed_roots_are_those_given_or_else_the_working_folder(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, given: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    roots = (Path("/srv"),) if given else ()
    operation = built_in_operations(roots)[0]

    async def bound() -> AllowedRoots:
        resources = Resources()
        await resources.open(operation.lifespans)
        arguments = operation.bind({}, said.job(), resources)
        await resources.close()
        return cast("AllowedRoots", arguments["roots"])

    assert asyncio.run(bound()).paths == (roots or (tmp_path,))
