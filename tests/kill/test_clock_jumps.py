"""A wall clock that jumps, both ways: within a life of the server, and between two."""

import asyncio
from pathlib import Path

import pytest

from tests.kill import ledger
from tests.kill.calls import Calls, numbers, until
from tests.kill.conftest import Fragile
from tests.kill.faults import DAY_S, Faults

DELAY = {"max_attempts": 2, "base_delay_s": 3, "multiplier": 1, "jitter": "none"}


def starts(file: Path, job_id: str) -> list[float]:
    """When the attempts of a job began, seconds of the monotonic clock."""
    return [span.first / 1e9 for span in ledger.read(file) if span.job_id == job_id]


@pytest.mark.parametrize("days", [1, -1])
def test_within_a_life_waits_and_limits_do_not_see_the_wall_clock(
    fragile: Fragile, tmp_path: Path, days: int
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "none")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    retried = calls.submit("failing", params={"times": 1}, retry=DELAY)
    limited = calls.submit("slow", params={"beats": 2000}, deadline_s=8)
    deferred = calls.submit("quick", params={"number": 1}, start="on_stream", attach_timeout_s=8)
    calls.reaches(retried, "retrying")
    calls.reaches(limited, "running")
    faults.jump(days * DAY_S)

    assert calls.record(limited)["state"] == "running"
    assert calls.record(deferred)["state"] == "queued"
    assert calls.ended(retried)["state"] == "completed"
    assert calls.ended(limited)["reason"] == "timeout"
    assert calls.ended(deferred)["reason"] == "expired"
    first, second = starts(server.ledger, retried)
    assert second - first > 2.9
    worked = next(each for each in ledger.read(server.ledger) if each.job_id == limited)
    assert worked.last - worked.first >= 3e9
    spans = calls.http.get(f"/v1/jobs/{retried}/trace").json()["spans"]
    waits = [each for each in spans[0]["children"] if each["name"] != "job.attempt"]
    assert all(0 <= each["duration_s"] < 3600 for each in waits)
    assert numbers(calls.frames(retried)) == list(range(1, len(calls.frames(retried)) + 1))


def test_put_back_between_two_lives_no_wait_is_longer_than_it_ever_was(
    fragile: Fragile, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "none")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    retried = calls.submit("failing", params={"times": 1}, retry=DELAY)
    cut = calls.submit("slow", params={"beats": 5})
    deferred = calls.submit("quick", params={"number": 1}, start="on_stream", attach_timeout_s=2)
    limited = calls.submit("slow", params={"beats": 2000}, deadline_s=3)
    calls.reaches(retried, "retrying")
    server.kill()
    faults.jump(-DAY_S)
    asyncio.run(server.start())

    assert calls.ended(retried)["state"] == "completed"
    assert calls.ended(cut)["state"] == "completed"
    assert calls.ended(deferred)["reason"] == "expired"
    assert calls.ended(limited)["reason"] == "timeout"
    listed = [each["id"] for each in calls.http.get("/v1/jobs").json()["jobs"]]
    assert listed == [limited, deferred, cut, retried]  # as they were made
    new = calls.submit("quick", params={"number": 2})
    assert calls.ended(new)["state"] == "completed"


def test_put_forward_between_two_lives_what_is_over_by_the_wall_is_over(
    fragile: Fragile, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "none")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    retried = calls.submit(
        "failing", params={"times": 1}, retry={**DELAY, "base_delay_s": 3000, "max_delay_s": 3000}
    )
    deferred = calls.submit("quick", params={"number": 1}, start="on_stream", attach_timeout_s=3000)
    limited = calls.submit("slow", params={"beats": 2000}, deadline_s=3000)
    calls.reaches(retried, "retrying")
    calls.reaches(limited, "running")
    server.kill()
    faults.jump(DAY_S)
    asyncio.run(server.start())

    assert calls.ended(retried)["state"] == "completed"
    assert calls.ended(deferred)["reason"] == "expired"
    assert calls.ended(limited)["reason"] in ("timeout", "lost")
    until(lambda: not server.strays(), "the end of what was killed")
