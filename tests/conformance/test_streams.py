"""The story of a job: live, from the beginning or from anywhere, once, in each form."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.wire import Frame
from tests.conformance.service import Service, refused


def _at(frames: list[Frame]) -> list[int]:
    return [frame.body["seq"] for frame in frames if "seq" in frame.body]


def _bodies(frames: list[Frame]) -> list[tuple[str | None, str, Any]]:
    return [(frame.id, frame.event, frame.body) for frame in frames]


@pytest.fixture(scope="module")
def told(service: Service) -> tuple[str, list[Frame]]:
    """A job that has ended, and its whole story."""
    job = service.submit("talk")["id"]
    service.ended(job)
    return job, service.story(job)


def test_a_stream_replays_and_then_follows_and_nothing_comes_twice(
    service: Service, gate: Path
) -> None:
    job = service.submit("gated", {"gate": str(gate), "before": 3, "after": 3})["id"]
    service.reaches(job, "running")
    with service.following(job) as early, service.following(job) as late:
        begun = early.until("before 2")
        assert _bodies(late.until("before 2")) == _bodies(begun)
        gate.touch()
        whole = begun + early.rest()
    replay = service.story(job)

    assert _bodies(whole) == _bodies(replay)
    assert _at(whole) == [*range(1, len(whole) + 1)]
    assert [frame.event for frame in whole][-2:] == ["state", "end"]
    assert whole[-1].body["marker"] == "[DONE]"


def test_each_kind_of_event_is_told(told: tuple[str, list[Frame]]) -> None:
    frames = told[1]

    assert {frame.event for frame in frames} == {"state", "narration", "progress", "output", "end"}
    assert frames[-1].body["result"] == {"ok": 1}
    assert len({str(frame.id).rpartition(".")[0] for frame in frames}) == 1


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_client_resumes_after_the_event_that_it_has_seen(
    service: Service, told: tuple[str, list[Frame]], way: str
) -> None:
    job, whole = told
    for place in (0, 3, len(whole) - 2):
        seen = str(whole[place].id)
        if way == "header":
            rest = service.story(job, headers={"last-event-id": seen})
        else:
            rest = service.story(job, last_event_id=seen)
        assert _bodies(rest) == _bodies(whole[place + 1 :])


def test_a_client_that_has_seen_all_is_told_to_stop(
    service: Service, told: tuple[str, list[Frame]]
) -> None:
    job, whole = told
    answer = service.api().get(
        f"/v1/jobs/{job}/stream", headers={"last-event-id": str(whole[-1].id)}
    )
    assert answer.status_code == 204


@pytest.mark.parametrize("sent", ["nonsense", "0.0", "deadbeef.99999", "-1", "💥"])
def test_an_id_that_means_nothing_gets_the_whole_story_and_a_gap_first(
    service: Service, told: tuple[str, list[Frame]], sent: str
) -> None:
    job, whole = told
    frames = service.story(job, last_event_id=sent)

    assert frames[0].event == "gap"
    assert frames[0].id is None
    assert _bodies(frames[1:]) == _bodies(whole)


def test_a_stream_begins_at_a_number_or_with_the_last_ones(
    service: Service, told: tuple[str, list[Frame]]
) -> None:
    job, whole = told

    assert _bodies(service.story(job, from_=4)) == _bodies(whole[3:])
    assert _bodies(service.story(job, tail=2)) == _bodies(whole[-2:])


def test_a_level_filters_narration_and_nothing_else(
    service: Service, told: tuple[str, list[Frame]]
) -> None:
    job, whole = told
    frames = service.story(job, level="warn")

    kept = [
        each
        for each in whole
        if each.event != "narration" or each.body["level"] in {"warn", "error", "fatal"}
    ]
    assert _bodies(frames) == _bodies(kept)


def test_each_mode_has_its_own_words(service: Service, told: tuple[str, list[Frame]]) -> None:
    job, _ = told
    texts = {
        mode: [each.body["text"] for each in service.story(job, mode=mode) if "text" in each.body]
        for mode in ("human", "cute", "story")
    }
    assert "Hello\nyou" in texts["human"]
    assert "Hiya" in texts["cute"]
    assert "Once there was a hello" in texts["story"]


def test_each_format_tells_the_same(service: Service, told: tuple[str, list[Frame]]) -> None:
    job, whole = told
    plain = service.story(job, format="text")
    lines = service.get(f"/v1/jobs/{job}/stream", format="ndjson", follow="false").text.splitlines()

    assert plain[-1].data == "[DONE]"
    assert any("Hello" in frame.data for frame in plain)
    assert len(lines) >= len(whole)


@pytest.mark.parametrize(
    "query", [{"mode": "x"}, {"format": "x"}, {"level": "x"}, {"from": "x"}, {"tail": "-1"}]
)
def test_what_is_asked_wrongly_is_refused_with_what_is_legal(
    service: Service, told: tuple[str, list[Frame]], query: dict[str, str]
) -> None:
    refused(service.get(f"/v1/jobs/{told[0]}/stream", **query), 422)


def test_a_story_can_be_read_without_a_stream(
    service: Service, told: tuple[str, list[Frame]]
) -> None:
    job, whole = told
    answer = service.get(f"/v1/jobs/{job}/narration").json()
    lines = service.get(f"/v1/jobs/{job}/narration", format="ndjson").text.splitlines()

    assert (answer["first"], answer["next"]) == (1, len(whole) + 1)
    assert [(each["id"], each["event"], each["data"]) for each in answer["events"]] == _bodies(
        whole
    )
    assert [json.loads(line) for line in lines] == answer["events"]


def test_failures_and_cancellations_end_with_their_markers(service: Service) -> None:
    failed = service.submit("fails")["id"]
    cancelled = service.submit("hang", start="on_stream")["id"]
    service.cancel(cancelled)
    ends = []
    for job in (failed, cancelled):
        service.ended(job)
        ends.append(service.story(job)[-1].body["marker"])

    assert ends[0].startswith("[ERROR] two")
    assert ends[1] == "[CANCELLED]"


def test_output_comes_in_order(service: Service) -> None:
    job = service.submit("tokens", {"count": 50})["id"]
    frames = service.story(job)

    chunks = [frame.body["chunk"] for frame in frames if frame.event == "output"]
    assert chunks == [f"token {number}" for number in range(50)]


def test_what_the_log_no_longer_keeps_is_told_as_a_gap(own: Any) -> None:
    with own(log_limit=20) as service:
        job = service.submit("tokens", {"count": 50})["id"]
        service.ended(job)
        first, *rest = service.story(job)

    assert first.event == "gap"
    assert first.body["from"] == 1
    assert _at(rest)[0] == first.body["to"] + 1
    assert rest[-1].event == "end"


def test_the_trace_is_a_tree_of_the_callers_trace(service: Service) -> None:
    caller = f"00-{0xABC:032x}-{0xDEF:016x}-01"
    retry = {"max_attempts": 2, "base_delay_s": 0.01}
    body = {"operation": "flaky", "params": {"times": 1}, "retry": retry}
    job = service.post(body, headers={"traceparent": caller}).json()["id"]
    record = service.ended(job)
    tree = json.dumps(service.get(f"/v1/jobs/{job}/trace").json())

    assert record["trace_id"] == f"{0xABC:032x}"
    for name in ("job flaky", "job.wait", "job.attempt", "job.backoff"):
        assert name in tree
    assert all(each["span_id"] in tree for each in record["attempts"])
    assert f"{0xABC:032x}" in service.get(f"/v1/jobs/{job}/trace", format="otlp").text
