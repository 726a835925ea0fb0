"""The whole API, attacked by schemathesis: single calls, and calls that follow from answers."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.fuzz.conftest import Fuzz
from tests.http.test_openapi import CHECKS, ENDLESS, WAIT_S, Running, calls, make_real

pytestmark = [
    # schemathesis draws from `random` in its own strategies
    pytest.mark.filterwarnings("ignore:Do not use the `random` module:FutureWarning"),
    pytest.mark.slow,
]

FEW = settings(
    max_examples=5,
    stateful_step_count=8,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server whose queue does not fill."""
    running = Running()
    running.start()
    yield running.url
    running.stop()


def ended(case: schemathesis.Case[Any]) -> None:
    """Let the one stream that is endless tell only what there is."""
    if case.path == ENDLESS:
        case.query = {**(case.query or {}), "follow": "false"}


def test_single_calls(url: str, fuzz: Fuzz) -> None:
    every = calls(url)

    # `tests/http/test_openapi.py` tries each call often: without time to fuzz, this one only works.
    examples = FEW if fuzz.long else settings(FEW, max_examples=1)

    def attack() -> None:
        for call in every:

            @examples
            @given(call.as_strategy())
            def one(case: schemathesis.Case[Any]) -> None:
                ended(case)
                make_real(case, url)
                case.call_and_validate(checks=CHECKS, timeout=WAIT_S)

            with suppress(Unsatisfiable):  # nothing can be varied in it
                one()

    fuzz.repeat(attack)


def test_calls_that_follow_from_answers(url: str, fuzz: Fuzz) -> None:
    machine: Any = schemathesis.openapi.from_url(f"{url}/openapi.json").as_state_machine()

    class Workflow(machine):  # type: ignore[misc]  # made by schemathesis, of the document
        def before_call(self, case: schemathesis.Case[Any]) -> None:
            ended(case)

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"timeout": WAIT_S}

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    fuzz.repeat(lambda: Workflow.run(settings=FEW))
