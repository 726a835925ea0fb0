"""`httpx-sse`, the client of Python's own."""

from pathlib import Path
from typing import Any

from httpx_sse import ServerSentEvent, connect_sse

from tests.clients.server import ServerProcess


def events(server: ServerProcess, path: str, **options: Any) -> list[ServerSentEvent]:
    """All events of a stream that ends."""
    with connect_sse(server.client, "GET", path, **options) as source:
        return list(source.iter_sse())


def test_it_reads_a_story_while_it_happens(server: ServerProcess, gate: Path) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    heard: list[ServerSentEvent] = []

    with connect_sse(server.client, "GET", job["links"]["stream"]) as source:
        for event in source.iter_sse():
            heard.append(event)
            if event.event == "narration" and event.json()["text"] == "before 0":
                gate.touch()

    assert [event.json()["seq"] for event in heard] == list(range(1, len(heard) + 1))
    assert (heard[-1].event, heard[-1].json()["marker"]) == ("end", "[DONE]")


def test_it_sees_no_empty_event_on_a_silent_stream(server: ServerProcess, gate: Path) -> None:
    job = server.submit("gated", params={"gate": str(gate)})

    with connect_sse(server.client, "GET", job["links"]["stream"]) as source:
        lines = source.response.iter_lines()
        silent = 0
        for line in lines:
            silent += line.startswith(":")
            if silent == 2:
                gate.touch()
                break
        rest = "\n".join(lines)
    heard = events(server, job["links"]["stream"])

    assert "event: end" in rest
    assert all(event.data for event in heard)


def test_it_is_told_when_to_come_back(server: ServerProcess) -> None:
    job = server.submit("talk")

    first = events(server, job["links"]["stream"])[0]

    assert first.retry is not None
    assert first.retry > 0


def test_it_resumes_after_the_last_id_and_is_told_when_there_is_no_more(
    server: ServerProcess,
) -> None:
    job = server.submit("talk")
    server.ended(job["id"])
    whole = events(server, job["links"]["stream"])
    after = {"Last-Event-ID": whole[4].id}

    last = {"Last-Event-ID": whole[-1].id}

    rest = events(server, job["links"]["stream"], headers=after)

    assert [(each.id, each.data) for each in rest] == [(each.id, each.data) for each in whole[5:]]
    assert server.client.get(job["links"]["stream"], headers=last).status_code == 204
