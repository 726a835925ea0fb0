"""How the demo follows a stream that breaks: an HTTP server of the test's own answers."""

from collections.abc import Iterator

import httpx
import pytest

from app.cli.demo import RESUMES, DemoError, _accepted, _story

SSE = {"content-type": "text/event-stream"}
STATE = b'id: e.1\nevent: state\ndata: {"state": "running"}\n\n'
END = b'id: e.2\nevent: end\ndata: {"state": "completed"}\n\n'
STREAM = "/v1/jobs/1/stream"


class Broken(httpx.SyncByteStream):
    """A body that breaks off after `data`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        """The data, then the break."""
        yield self.data
        raise httpx.ReadError("broken")


class Answers:
    """Gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Note the id from which the client resumes, and answer."""
        self.asked.append(request.headers.get("last-event-id"))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def told(self) -> list[str]:
        """The names of the events that the demo gets."""
        with httpx.Client(base_url="http://demo", transport=httpx.MockTransport(self)) as client:
            return [name for name, _ in _story(client, STREAM)]


def ok(content: bytes) -> httpx.Response:
    return httpx.Response(200, headers=SSE, content=content)


def broken(content: bytes) -> httpx.Response:
    return httpx.Response(200, headers=SSE, stream=Broken(content))


def test_a_whole_story_is_told_up_to_its_end() -> None:
    answers = Answers(ok(STATE + END))

    assert answers.told() == ["state", "end"]
    assert answers.asked == [None]


def test_a_story_that_breaks_off_is_taken_up_after_the_last_event() -> None:
    answers = Answers(broken(STATE), ok(END))

    assert answers.told() == ["state", "end"]
    assert answers.asked == [None, "e.1"]


def test_a_stream_that_the_server_closed_early_is_taken_up_too() -> None:
    assert Answers(ok(STATE), ok(END)).told() == ["state", "end"]


def test_nothing_left_to_tell_is_the_end() -> None:
    assert Answers(ok(STATE), httpx.Response(204, headers=SSE)).told() == ["state"]


def test_a_stream_that_breaks_for_ever_is_given_up() -> None:
    answers = Answers(httpx.Response(200, headers=SSE, content=b""))

    assert answers.told() == []
    assert len(answers.asked) == RESUMES + 1


def test_a_server_that_is_gone_is_an_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    with (
        httpx.Client(base_url="http://demo", transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(httpx.ConnectError),
    ):
        list(_story(client, STREAM))


def test_a_refused_job_is_an_error_with_the_servers_reason() -> None:
    with pytest.raises(DemoError, match="the queue is full"):
        _accepted(httpx.Response(429, json={"title": "Full", "detail": "the queue is full"}))
