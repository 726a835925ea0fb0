"""Compares what clients were told with what is there, and with what was told before.

Each function looks at one job, or at all, and yields what does not hold, in words. It asks no
server: the records and frames are handed in.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from app.jobs.lifecycle import TRANSITIONS
from telemetry.names import TERMINAL, State
from tests.kill.told import JobTold, Record, Told

IMMUTABLE: Final = (
    *("id", "operation", "params", "priority", "tags", "metadata"),
    *("created_at", "trace_id", "retry_of", "links"),
)
RESULTS: Final = {"quick": "number", "slow": "beats", "threaded": "beats", "child": "beats"}
"""Operation → the parameter that it gives back."""
TIMER_S: Final = 0.002
"""How much too early a timer of the loop may be: it counts whole milliseconds."""
_LIMIT: Final = re.compile(r"(deadline_s|attach_timeout_s|queue_timeout_s) = ([0-9.]+) s")
DIED: Final = "the server died while the attempt ran"


def seconds(time: str) -> float:
    """An RFC 3339 time as Unix seconds."""
    return datetime.fromisoformat(time).timestamp()


def _reachable() -> dict[State, frozenset[State]]:
    """State → every state that may be told later."""
    found = {state: {state} for state in State}
    for _ in State:
        for state, after in found.items():
            for each in list(after):
                after.update(TRANSITIONS[each].values())
            found[state] = after
    return {state: frozenset(after) for state, after in found.items()}


REACHABLE: Final = _reachable()


def tellings(job_id: str, told: JobTold) -> Iterator[str]:
    """What was told of one job goes together, over all lives of the server."""
    ordered = sorted(told.tellings, key=lambda each: each.sent)
    for telling in ordered:
        earlier = [each for each in ordered if each.heard <= telling.sent]
        if earlier:
            before = max(earlier, key=lambda each: each.heard).record
            for words in _follows(before, telling.record):
                yield f"{job_id}: {words}"
    for refusal in told.finished:
        for telling in ordered:
            if telling.sent >= refusal.heard and telling.record["state"] != refusal.state:
                yield f"{job_id}: was {refusal.state} to one, then {telling.record['state']}"


def _follows(before: Record, after: Record) -> Iterator[str]:
    """What was told `after` may follow what was told `before`."""
    for name in IMMUTABLE:
        if before[name] != after[name]:
            yield f"{name} was {before[name]!r}, then {after[name]!r}"
    state, then = State(before["state"]), State(after["state"])
    if state in TERMINAL:
        if before != after:
            yield f"it had finished as {before}, then it was {after}"
        return
    if then not in REACHABLE[state]:
        yield f"it was {state}, then {then}"
    if state is State.CANCELLING and then not in (State.CANCELLING, State.CANCELLED):
        yield f"it was being cancelled, then {then}"
    if before["cancel"] and (after["cancel"] or {}).get("origin") != before["cancel"]["origin"]:
        yield f"a cancel of {before['cancel']} became {after['cancel']}"
    yield from _attempts_follow(before, after)


def _attempts_follow(before: Record, after: Record) -> Iterator[str]:
    """No attempt is lost, made anew, or begun before its time."""
    if after["attempt"] < before["attempt"] or len(after["attempts"]) < len(before["attempts"]):
        yield f"attempt {before['attempt']} was told, then {after['attempt']}"
    for old, new in zip(before["attempts"], after["attempts"], strict=False):
        if old["outcome"] is not None and old != new:
            yield f"an attempt was {old}, then {new}"
        if (old["number"], old["started_at"]) != (new["number"], new["started_at"]):
            yield f"an attempt began as {old}, then as {new}"
    due, number = before["next_retry_at"], before["attempt"]
    if due and after["attempt"] == number and after["next_retry_at"] not in (due, None):
        yield f"a retry was due at {due}, then at {after['next_retry_at']}"
    if due and after["attempt"] > number:
        early_s = seconds(due) - seconds(after["attempts"][number]["started_at"])
        if early_s > TIMER_S:
            yield f"attempt {number + 1} was due at {due}, and began {early_s} s earlier"


def finished(record: Record) -> Iterator[str]:
    """A record of a finished job is whole."""
    job_id, attempts = record["id"], record["attempts"]
    if State(record["state"]) not in TERMINAL:
        yield f"{job_id}: is still {record['state']}"
        return
    if [each["number"] for each in attempts] != list(range(1, len(attempts) + 1)):
        yield f"{job_id}: its attempts are {attempts}"
    for each, following in pairwise(attempts):
        if each["finished_at"] is None or each["finished_at"] > following["started_at"]:
            yield f"{job_id}: attempt {each} ended after {following} began"
    if any(each["outcome"] is None for each in attempts):
        yield f"{job_id}: an attempt has no end: {attempts}"
    if record["operation"] == "once":
        yield from _tried_once(record)
    if record["state"] == "completed":
        yield from _completed(record)


def _tried_once(record: Record) -> Iterator[str]:
    """A job that may be tried but once was; if that was cut, it has failed."""
    outcomes = [each["outcome"] for each in record["attempts"]]
    if len(outcomes) > 1:
        yield f"{record['id']}: may be tried once, and was tried {len(outcomes)} times"
    end = record["state"], record["reason"]
    if outcomes == ["lost"] and end not in (("failed", "lost"), ("cancelled", None)):
        yield f"{record['id']}: its one attempt is lost, and it is {end}"


def _completed(record: Record) -> Iterator[str]:
    """A job that has completed has done what it was to do."""
    outcomes = [each["outcome"] for each in record["attempts"]]
    if outcomes.count("completed") != 1 or outcomes[-1] != "completed":
        yield f"{record['id']}: completed, by attempts that are {outcomes}"
    asked = RESULTS.get(record["operation"])
    if asked is not None and record["result"] != record["params"][asked]:
        yield f"{record['id']}: gave {record['result']}, not {record['params'][asked]}"


def story(record: Record, frames: dict[int, bytes], told: JobTold) -> Iterator[str]:
    """The story of a finished job is whole, and is what its readers were told."""
    job_id = record["id"]
    if list(frames) != list(range(1, len(frames) + 1)):
        yield f"{job_id}: its story has the events {list(frames)}"
        return
    for number, frame in told.events.items():
        if frames.get(number) != frame:
            yield f"{job_id}: event {number} was {frame!r}, and is {frames.get(number)!r}"
    events = [_event(frame) for frame in frames.values()]
    names = [name for name, _ in events]
    if names.count("end") != 1 or names[-2:] != ["state", "end"]:
        yield f"{job_id}: its story ends with {names[-3:]} and has {names.count('end')} ends"
    if [data["seq"] for _, data in events] != list(frames):
        yield f"{job_id}: ids and numbers differ"
    yield from _states(record, [data for name, data in events if name == "state"])
    yield from _cut_attempts(record, [data for name, data in events if name == "narration"])
    if record["operation"].startswith("counting"):
        yield from _checkpoints(job_id, [data for name, data in events if name == "output"])


def _states(record: Record, states: list[dict[str, Any]]) -> Iterator[str]:
    """The story goes from state to state as the table allows, to the record's own."""
    job_id, state, attempt = record["id"], State.QUEUED, 0
    for data in states:
        then = State(data["state"])
        if then is not state and then not in TRANSITIONS[state].values():
            yield f"{job_id}: its story goes from {state} to {then}"
        attempt += then is State.RUNNING
        if data["attempt"] != attempt:
            yield f"{job_id}: its story tells of attempt {data['attempt']}, not {attempt}"
        state = then
    if (state, attempt) != (record["state"], record["attempt"]):
        yield f"{job_id}: its story ends {state} after {attempt}, its record {record}"


def _cut_attempts(record: Record, narration: list[dict[str, Any]]) -> Iterator[str]:
    """Each attempt that a kill has cut is narrated, once, as it is recorded."""
    cut = [
        each["number"]
        for each in record["attempts"]
        if each["outcome"] == "lost" and each["error"] and each["error"]["message"] == DIED
    ]
    said = [
        data["attempt"]
        for data in narration
        if data["action"] == "attempt_failed" and data["fields"].get("job.error") == DIED
    ]
    if said != cut:
        yield f"{record['id']}: attempts {cut} were cut, and {said} are narrated"


def _checkpoints(job_id: str, output: list[dict[str, Any]]) -> Iterator[str]:
    """What was said after a checkpoint means that it was kept."""
    reached = 0
    for chunk in (data["chunk"] for data in output):
        if "from" in chunk and chunk["from"] < reached:
            yield f"{job_id}: had kept {reached}, and began again at {chunk['from']}"
        reached = max(reached, chunk.get("at", 0), chunk.get("from", 0))


def _event(frame: bytes) -> tuple[str, dict[str, Any]]:
    fields = dict(line.split(": ", 1) for line in frame.decode().split("\n"))
    data: dict[str, Any] = json.loads(fields["data"])
    return fields["event"], data


def all_there(told: Told, listed: dict[str, Record]) -> Iterator[str]:
    """Every job that was acknowledged is there, and each key has made one."""
    for job_id, job in told.jobs.items():
        if job.tellings and not job.delete_asked and job_id not in listed:
            yield f"{job_id}: was acknowledged, and is not there"
        if job.deleted and job_id in listed:
            yield f"{job_id}: was told to be gone, and is there"
    made: dict[str, str] = {}
    for record in listed.values():
        key = record["metadata"].get("key")
        if key is not None and made.setdefault(key, record["id"]) != record["id"]:
            yield f"key {key} has made {made[key]} and {record['id']}"


def limits(record: Record, more_s: float) -> Iterator[str]:
    """A limit that has failed a job passed when it was due, and at most `more_s` seconds later."""
    found = _LIMIT.search((record["failure"] or {"message": ""})["message"])
    if found is None:
        return
    name, limit_s = found[1], float(found[2])
    lasted_s = seconds(record["finished_at"]) - seconds(record["created_at"])
    # A retry that could not begin before the deadline is not waited for.
    too_soon = name != "deadline_s" and lasted_s < limit_s - TIMER_S
    if too_soon or lasted_s > limit_s + more_s:
        yield f"{record['id']}: {name} = {limit_s} passed after {lasted_s} s"


def trace(record: Record, tree: dict[str, Any]) -> Iterator[str]:
    """The spans of a finished job are one tree, whichever process has begun or ended them."""
    job_id, spans = record["id"], list(_flat(tree["spans"]))
    if {span["trace_id"] for span in spans} != {record["trace_id"]}:
        yield f"{job_id}: spans of other traces: {spans}"
    roots = [span["name"] for span in tree["spans"]]
    if roots != [f"job {record['operation']}"]:
        yield f"{job_id}: its trace has the roots {roots}"
    found = [span["span_id"] for span in spans]
    if len(set(found)) != len(found):
        yield f"{job_id}: a span is there twice: {found}"
    wanted = [each["span_id"] for each in record["attempts"]]
    if not set(wanted) <= set(found) or len(set(wanted)) != len(wanted):
        yield f"{job_id}: its attempts are {wanted}, its spans {found}"
    if not all(span["end"] for span in spans):
        yield f"{job_id}: a span has no end: {spans}"
    ends = {span["span_id"]: span["end"] for span in spans}
    for each in record["attempts"]:
        if ends.get(each["span_id"]) != each["finished_at"]:
            yield f"{job_id}: attempt {each} has a span that ends {ends.get(each['span_id'])}"


def _flat(spans: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for span in spans:
        yield span
        yield from _flat(span["children"])
