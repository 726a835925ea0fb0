"""Every error is a problem document."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.http.access import OPEN
from app.http.problems import (
    INVALID,
    Problem,
    add_problem_handlers,
    legal_values,
    retry_after,
    status_of,
)
from app.http.routes import get_route
from app.jobs import errors
from telemetry.names import State


def answer(error: Exception, method: str = "GET", path: str = "/fails") -> httpx.Response:
    """What an application answers whose route raises `error`."""
    app = FastAPI()
    add_problem_handlers(app)

    async def fails() -> Response:
        raise error

    async def counts(number: int = Query(ge=1)) -> Response:
        return Response(str(number))

    get_route(app, "/fails", fails, guard=OPEN)
    get_route(app, "/counts", counts, guard=OPEN)
    app.add_api_route("/fails", fails, methods=["POST"])

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path)

    return asyncio.run(call())


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert {"type", "title", "status", "detail", "instance"} <= set(document)
    return document


EVERY_ERROR = [
    (errors.JobNotFound("x"), 404),
    (errors.OperationNotFound("x", ["render"]), 404),
    (errors.InvalidParams([errors.field_error("wrong", "scene")]), 422),
    (errors.InvalidSubmission([errors.field_error("wrong", "operation")]), 422),
    (errors.InvalidFilter("state", "x", ["queued"]), 422),
    (errors.InvalidCursor("x"), 422),
    (errors.IdempotencyConflict("key", "id"), 422),
    (errors.IllegalTransition(State.COMPLETED, "cancel", []), 409),
    (errors.AlreadyFinished("x", State.FAILED), 409),
    (errors.NotFinished("x", State.RUNNING), 409),
    (errors.QueueFull(10, retry_after_s=1.5), 429),
    (errors.TenantRate(2, retry_after_s=0.5), 429),
    (errors.TenantQueueFull(10, retry_after_s=1), 429),
    (errors.TenantStreams(10, retry_after_s=5), 429),
    (errors.StoreUnavailable("disk full", retry_after_s=1), 503),
    (errors.Draining(retry_after_s=30), 503),
    (errors.NarratorError("any"), 422),
]


@pytest.mark.parametrize(("error", "status"), EVERY_ERROR)
def test_each_domain_error_has_its_status(error: errors.NarratorError, status: int) -> None:
    document = problem(answer(error))

    assert document["status"] == status
    assert document["type"] == f"urn:job-narrator:problem:{error.code}"
    assert document["detail"] == str(error)
    assert document["instance"] == "/fails"


def test_no_domain_error_is_left_out() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind} | {each for child in kind.__subclasses__() for each in below(child)}

    branches = {
        errors.InvalidInput,
        errors.NotFound,
        errors.Conflict,
        errors.Unavailable,
        errors.TenantLimit,
    }
    ours = {kind for kind in below(errors.NarratorError) if kind.__module__ == errors.__name__}

    assert ours - branches == {type(error) for error, _ in EVERY_ERROR}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(errors.QueueFull(10, retry_after_s=1.5), "2"), (errors.Draining(retry_after_s=0), "1")],
)
def test_what_may_be_tried_again_says_when(error: Exception, seconds: str) -> None:
    assert answer(error).headers["retry-after"] == seconds


def test_wrong_params_are_named_by_their_place_in_the_body() -> None:
    document = problem(answer(errors.InvalidParams([errors.field_error("wrong", "scene")])))

    assert document["errors"] == [{"loc": ["body", "params", "scene"], "message": "wrong"}]


def test_what_is_legal_is_a_member() -> None:
    assert problem(answer(errors.OperationNotFound("x", ["b", "a"])))["legal"] == ["a", "b"]


def test_an_unknown_path_is_a_404() -> None:
    document = problem(answer(Exception(), path="/nowhere"))

    assert (document["status"], document["type"]) == (404, "about:blank")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "BREW"])
def test_a_wrong_method_is_told_every_legal_one(method: str) -> None:
    response = answer(Exception(), method=method)

    assert problem(response)["status"] == 405
    assert response.headers.get_list("allow") == ["GET, HEAD, POST"]


def test_a_wrong_parameter_is_named() -> None:
    document = problem(answer(Exception(), path="/counts?number=0"))

    assert document["status"] == 422
    assert [each["loc"] for each in document["errors"]] == [["query", "number"]]


def test_a_defect_of_ours_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    document = problem(answer(ZeroDivisionError("a secret")))

    assert document["status"] == 500
    assert "secret" not in str(document)
    assert "ZeroDivisionError" in caplog.text


def test_other_http_errors_keep_their_words_and_headers() -> None:
    response = answer(HTTPException(418, "I am a teapot", headers={"X-Pot": "tea"}))

    assert problem(response)["detail"] == "I am a teapot"
    assert response.headers["x-pot"] == "tea"


def test_a_refusal_by_http_carries_its_members() -> None:
    document = problem(answer(Problem(INVALID, "No.", members={"legal": [1]})))

    assert (document["detail"], document["legal"]) == ("No.", [1])


def test_an_error_that_nobody_knows_has_the_status_of_its_branch() -> None:
    class NewConflict(errors.Conflict):
        pass

    assert status_of(NewConflict("x")) == 409


@pytest.mark.parametrize(("seconds", "told"), [(0, "1"), (0.2, "1"), (1.01, "2"), (30, "30")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, told: str) -> None:
    assert retry_after(seconds) == told


def test_legal_values_are_read_from_the_message() -> None:
    assert legal_values("'a', 'b' or 'c'") == ["a", "b", "c"]
