"""What calls send, when they send it again, and what answers mean."""

import math
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from app.client.calls import job_path
from app.client.errors import (
    Busy,
    ClientError,
    Conflict,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFinished,
    NotFound,
    Refused,
    Unreachable,
    Unreadable,
)
from app.client.steps import Request, Steps
from tests.clients.python.scripted import Given, Scripted, always, answer, script

RECORD = {
    "id": "a",
    "operation": "render",
    "state": "queued",
    "created_at": "2026-11-24T12:00:00.000000Z",
}
ENDED = RECORD | {"state": "completed", "finished_at": "2026-11-24T12:00:01Z", "result": [1]}

Call = Callable[[Scripted], Steps[Any]]


def submit(one: Scripted) -> Steps[Any]:
    return one.calls.submit("render", {"scene": "x"}, None, {})


def get(one: Scripted) -> Steps[Any]:
    return one.calls.get("a")


def cancel(one: Scripted) -> Steps[Any]:
    return one.calls.cancel("a")


def retry(one: Scripted) -> Steps[Any]:
    return one.calls.retry("a", None, None, None, {})


def delete(one: Scripted) -> Steps[Any]:
    return one.calls.delete("a")


def keys(one: Scripted) -> list[str]:
    return [request.headers["idempotency-key"] for request in one.requests]


# --- sending again --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [submit, retry])
@pytest.mark.parametrize("error", [httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
def test_what_makes_a_job_is_sent_again_with_the_same_key_when_its_answer_was_lost(
    error: type[httpx.RequestError], call: Call
) -> None:
    one = script([error("lost"), error("lost"), answer(202, json=RECORD)])

    record = one.run(call(one))

    assert record.id == "a"
    assert len(set(keys(one))) == 1
    assert len({request.content for request in one.requests}) == 1
    assert one.pauses == [0.1, 0.2]


def test_each_call_that_makes_a_job_has_a_key_of_its_own_unless_one_is_given() -> None:
    one = script([answer(202, json=RECORD) for _ in range(6)])

    for call in (submit, submit, retry, retry):
        one.run(call(one))
    one.run(one.calls.submit("render", None, "mine", {}))
    one.run(one.calls.retry("a", None, None, "too", {}))

    assert len(set(keys(one))) == 6
    assert keys(one)[4:] == ["mine", "too"]


@pytest.mark.parametrize("call", [cancel, delete])
def test_what_may_have_been_done_is_not_sent_again(call: Call) -> None:
    one = script([httpx.ReadError("lost")])

    with pytest.raises(Unreachable, match="may have arrived") as raised:
        one.run(call(one))

    assert raised.value.sent
    assert one.pauses == []


@pytest.mark.parametrize("call", [submit, get, cancel, retry])
def test_what_never_left_is_sent_again(call: Call) -> None:
    one = script([httpx.ConnectError("refused"), answer(202, json=RECORD)])

    assert one.run(call(one)).id == "a"


def test_a_call_gives_up_after_its_time() -> None:
    one = script(always(lambda: httpx.ConnectError("refused")), calls_s=1)

    with pytest.raises(Unreachable, match=r"refused.*tried 4 times.*is it running there") as raised:
        one.run(get(one))

    assert not raised.value.sent
    assert one.pauses == [0.1, 0.2, 0.4]


def test_a_call_that_took_its_time_to_fail_is_not_sent_again() -> None:
    one = script([])

    def hang(_: Request) -> list[Given]:
        one.now += 30
        return [httpx.ReadTimeout("timed out")]

    one.server = hang

    with pytest.raises(Unreachable, match="timed out"):
        one.run(submit(one))

    assert len(one.requests) == 1


# --- not now --------------------------------------------------------------------------------------


def busy(retry_after: str | None = "3") -> httpx.Response:
    headers = {} if retry_after is None else {"retry_after": retry_after}
    return answer(429, json={"title": "Queue full", "detail": "10 jobs are waiting"}, **headers)


def test_a_full_queue_is_an_error_that_says_when_to_try_again() -> None:
    one = script([busy()])

    with pytest.raises(Busy, match="10 jobs are waiting; try again in 3 s") as raised:
        one.run(submit(one))

    assert (raised.value.status, raised.value.retry_after_s) == (429, 3.0)


def test_it_is_waited_out_if_that_is_asked_for() -> None:
    one = script([busy(), answer(503, retry_after="2"), answer(202, json=RECORD)], busy_s=60)

    one.run(submit(one))

    assert one.pauses == [3, 2]
    assert len(set(keys(one))) == 1


def test_a_wait_that_would_end_too_late_is_not_begun() -> None:
    one = script(always(busy), busy_s=10)

    with pytest.raises(Busy):
        one.run(submit(one))

    assert one.pauses == [3, 3, 3]


@pytest.mark.parametrize("header", [None, "Tue, 24 Nov 2026 12:00:00 GMT", "-1", "1" * 5000])
def test_without_seconds_to_wait_it_waits_as_it_likes(header: str | None) -> None:
    one = script([busy(header), busy(header), answer(202, json=RECORD)], busy_s=10)

    one.run(submit(one))

    assert one.pauses == [0.1, 0.2]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (421, Refused),
        (422, InvalidRequest),
        (429, Busy),
        (500, Refused),
        (503, Busy),
    ],
)
def test_a_status_is_an_error_of_its_kind(status: int, kind: type[Refused]) -> None:
    told = {"type": "urn:x", "title": "No", "detail": "because", "job_id": "a"}
    one = script([answer(status, json=told)])

    with pytest.raises(ClientError, match=f"POST .*/v1/jobs was answered {status}, No") as raised:
        one.run(submit(one))

    assert type(raised.value) is kind
    assert raised.value.problem.members == {"job_id": "a"}


def test_an_invalid_request_names_each_field() -> None:
    errors = [
        {"loc": ["body", "params", "frames"], "message": "frames: Input should be an integer"},
        {"loc": ["body", "priority"], "message": "No such value", "legal": ["low", "high"]},
        "nonsense",
    ]
    one = script([answer(422, json={"title": "Not valid", "errors": errors})])

    with pytest.raises(InvalidRequest) as raised:
        one.run(submit(one))

    assert [each.field for each in raised.value.errors] == ["body.params.frames", "body.priority"]
    assert str(raised.value).splitlines()[1:] == [
        "  body.params.frames: Input should be an integer",
        "  body.priority: No such value (legal: low, high)",
    ]


@pytest.mark.parametrize("content", [b"<html>", b"[1]", b"\xff", b""])
def test_an_answer_of_somebody_else_is_told_by_its_status(content: bytes) -> None:
    one = script([httpx.Response(502, content=content)])

    with pytest.raises(Refused, match=r"502, Bad Gateway: .*is the address right"):
        one.run(get(one))


def test_a_status_without_a_name_is_an_error_too() -> None:
    one = script([httpx.Response(599)])

    with pytest.raises(Refused, match="was answered 599, a status without a name"):
        one.run(get(one))


def test_a_server_that_has_moved_is_told_with_its_new_address() -> None:
    one = script([httpx.Response(308, headers={"location": "https://new.test/v1"})])

    with pytest.raises(Refused, match=r"it points to https://new.test/v1"):
        one.run(get(one))


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"id": 1}', b"{}"])
def test_a_success_that_is_no_record_is_said_to_be_none(content: bytes) -> None:
    one = script([httpx.Response(200, content=content)])

    with pytest.raises(Unreadable, match="the record of a job can't be read"):
        one.run(get(one))


def test_a_password_in_the_address_is_shown_in_no_error() -> None:
    one = script([answer(404)])
    steps = get(one)
    next(steps)
    request = httpx.Request("GET", "http://ada:secret@narrator.test/v1/jobs/a")

    with pytest.raises(NotFound) as raised:
        steps.send(httpx.Response(404, request=request))

    assert "secret" not in str(raised.value)


# --- waiting --------------------------------------------------------------------------------------


def test_a_result_is_waited_for_by_as_many_long_polls_as_it_takes() -> None:
    one = script([answer(json=RECORD), answer(json=RECORD), answer(json=ENDED)])

    assert one.run(one.calls.result("a", None)) == [1]
    assert [request.query for request in one.requests] == [(("wait", "20.000"),)] * 3
    assert {request.silence_s for request in one.requests} == {50}


def test_a_wait_goes_on_over_a_restart() -> None:
    away = (httpx.ReadError("x"), httpx.ConnectError("x"), answer(502), answer(503))
    one = script([*away, answer(json=ENDED)])

    assert one.run(one.calls.wait("a", None)).ended


def test_a_wait_that_is_over_tells_how_the_job_stands() -> None:
    one = script(always(lambda: answer(json=RECORD)))

    with pytest.raises(NotFinished, match=r"job a .render. is still queued after 2.5 s") as raised:
        one.run(one.calls.result("a", 2.5))

    assert raised.value.record.id == "a"
    assert one.now == pytest.approx(2.5)


def test_how_a_job_ended_is_an_error_unless_it_has_completed() -> None:
    failure = {"reason": "timeout", "type": "TimeoutError", "message": "too long"}
    failed = ENDED | {"state": "failed", "reason": "timeout", "failure": failure, "attempt": 2}
    stopped = ENDED | {
        "state": "cancelled",
        "cancel": {"origin": "client", "requested_at": "2026-11-24T12:00:00Z"},
    }
    one = script([answer(json=failed), answer(json=stopped)])

    with pytest.raises(JobFailed, match="after 2 attempts, reason timeout: TimeoutError") as first:
        one.run(one.calls.result("a", None))
    with pytest.raises(JobCancelled, match="was cancelled by client") as second:
        one.run(one.calls.result("a", None))

    assert first.value.reason == "timeout"
    assert second.value.record.state == "cancelled"


# --- what is sent ---------------------------------------------------------------------------------


def test_a_retry_sends_only_what_changes() -> None:
    one = script([answer(202, json=RECORD), answer(202, json=RECORD)])

    one.run(one.calls.retry("a", None, {"frames": 2}, None, {"timeout_s": None}))
    one.run(one.calls.retry("a", None, None, None, {}))

    bodies = [msgspec.json.decode(request.content or b"") for request in one.requests]
    assert bodies == [{"params": {"frames": 2}, "timeout_s": None}, {}]


@pytest.mark.parametrize("value", [math.nan, {1, 2}, "\ud800", object()])
def test_params_that_json_cannot_carry_are_refused_before_anything_is_sent(value: object) -> None:
    one = script([])

    with pytest.raises(ValueError, match=r".+"):
        one.run(one.calls.submit("render", {"scene": value}, None, {}))

    assert one.requests == []


@pytest.mark.parametrize(
    ("job_id", "path"), [("a/../b", "v1/jobs/a%2F..%2Fb"), ("?x#y", "v1/jobs/%3Fx%23y")]
)
def test_an_id_stays_one_part_of_the_path(job_id: str, path: str) -> None:
    assert job_path(job_id) == path


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_an_id_that_would_be_another_path_is_refused(job_id: str) -> None:
    with pytest.raises(ValueError, match="the id of a job is not"):
        job_path(job_id, "cancel")


def test_a_list_is_fetched_page_by_page_as_it_is_read() -> None:
    pages = [
        {"jobs": [RECORD, RECORD | {"id": "b"}], "next": "more", "total": 3},
        {"jobs": [RECORD | {"id": "c", "colour": "red"}], "next": None, "total": 3},
    ]
    one = script([answer(json=page) for page in pages])

    one.run(one.calls.list(2, state=["queued", "running"], tag="film:a"))

    assert [each.id for each in one.delivered] == ["a", "b", "c"]
    assert msgspec.json.decode(one.delivered[2].raw)["colour"] == "red"
    assert one.requests[1].query == (
        ("state", "queued"),
        ("state", "running"),
        ("tag", "film:a"),
        ("cursor", "more"),
        ("limit", "2"),
    )
