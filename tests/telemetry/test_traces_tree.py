"""The whole tree of each outcome, span by span, as a real OTLP receiver decoded it.

A tree is drawn as text (trees.txt): a line a span, with its kind, its status and what its
attributes say of the outcome, and under it a line an event. What else attributes hold is
test_traces_end_to_end's.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from telemetry import names
from tests.telemetry.otlp_receiver import OtlpReceiver, Received
from tests.telemetry.outcomes import OUTCOMES, Record
from tests.telemetry.served import Caller, Trace, events_of, serving, trace_of

TOLD: Final = (
    names.JOB_STATE,
    names.JOB_REASON,
    names.JOB_OUTCOME,
    names.JOB_CANCEL_ORIGIN,
    names.ERROR_TYPE,
)
"""The attributes that say how a span ended, in the order in which they are drawn."""


TREES: Final = Path(__file__).with_name("trees.txt")
"""What is expected: for each outcome a line `== outcome`, then its tree."""

IS_REMOTE: Final = (
    SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
)


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that has ended, in whose name it was submitted, and its trace."""

    record: Record
    caller: Caller
    trace: Trace

    @property
    def job(self) -> Received:
        """The job's own span."""
        return self.trace.one(f"{names.SPAN_JOB} {self.record['operation']}")

    def children(self, parent: Received) -> list[Received]:
        """The spans right under `parent`, by their start."""
        return [s for s in self.trace.spans if s.span.parent_span_id == parent.span.span_id]

    def drawn(self) -> str:
        """The job's tree, two spaces a level."""
        return "\n".join(self._drawn(self.job))

    def tree(self) -> list[Received]:
        """The spans of the job, from the top."""
        return self._below(self.job)

    def _below(self, top: Received) -> list[Received]:
        return [top, *(each for child in self.children(top) for each in self._below(child))]

    def _drawn(self, top: Received) -> list[str]:
        happened = [f"- {name}" for name, _ in events_of(top)]
        deeper = [line for child in self.children(top) for line in self._drawn(child)]
        return [line_of(top), *(f"  {line}" for line in (*happened, *deeper))]


def line_of(received: Received) -> str:
    span = received.span
    kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    told = [f"{name}={received.attributes[name]}" for name in TOLD if name in received.attributes]
    status = Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower()
    if span.status.message:
        status = f"{status} “{span.status.message}”"
    return " | ".join((span.name, kind, status, *told))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ran]]:
    """A job of each outcome."""
    folder = tmp_path_factory.mktemp("outcomes")
    with (
        OtlpReceiver() as receiver,
        serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server,
    ):
        found: dict[str, Ran] = {}
        for name, run in OUTCOMES.items():
            caller = Caller.new()
            record = run(server, caller, folder)
            found[name] = Ran(record, caller, trace_of(receiver, caller.trace_id))
        yield found


@pytest.fixture(params=list(OUTCOMES))
def ran(request: pytest.FixtureRequest, everything: dict[str, Ran]) -> Ran:
    """The job of one outcome."""
    return everything[request.param]


def expected() -> dict[str, str]:
    sections = TREES.read_text().removeprefix("== ").split("\n== ")
    return {name: tree.rstrip() for name, _, tree in (each.partition("\n") for each in sections)}


def test_every_outcome_has_its_tree(everything: dict[str, Ran]) -> None:
    assert {name: ran.drawn() for name, ran in everything.items()} == expected()


def test_all_spans_of_a_job_are_in_its_tree_and_in_the_callers_trace(ran: Ran) -> None:
    ids = [each.span.span_id for each in ran.trace.spans]

    assert len(set(ids)) == len(ids)
    assert all(len(each) == 8 and any(each) for each in ids)
    assert ran.record["trace_id"] == ran.caller.trace_id
    assert ran.job.span.parent_span_id.hex() == ran.caller.span_id
    beside = [each.span.name for each in ran.trace.spans if each not in ran.tree()]
    assert beside == ["POST /v1/jobs"]


def test_a_parent_in_another_process_is_told_as_remote(ran: Ran) -> None:
    remote = [each for each in ran.tree() if each.span.flags & IS_REMOTE == IS_REMOTE]
    made_in_a_child_process = ran.trace.named("held open")

    assert remote == [ran.job, *made_in_a_child_process]
    assert all(each.span.flags & IS_REMOTE for each in ran.tree())  # of each it is known


def test_the_record_names_the_spans_of_its_attempts(ran: Ran) -> None:
    attempts = [
        (each.attributes[names.JOB_ATTEMPT], each.span.span_id.hex())
        for each in ran.trace.named(names.SPAN_ATTEMPT)
    ]

    assert [(each["number"], each["span_id"]) for each in ran.record["attempts"]] == attempts


def test_a_span_begins_and_ends_within_its_parent(ran: Ran) -> None:
    for parent in ran.tree():
        for child in ran.children(parent):
            assert within(parent.span, child.span.start_time_unix_nano), child.span.name
            assert within(parent.span, child.span.end_time_unix_nano), child.span.name


def test_the_events_of_a_span_are_in_order_and_within_it(ran: Ran) -> None:
    for each in ran.tree():
        times = [event.time_unix_nano for event in each.span.events]
        assert times == sorted(times)
        assert all(within(each.span, time) for time in times), each.span.name


def test_waits_attempts_and_backoffs_follow_one_another(ran: Ran) -> None:
    phases = [each.span for each in ran.children(ran.job)]

    for earlier, later in itertools.pairwise(phases):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano, (earlier.name, later.name)


def test_a_status_is_unset_or_an_error_and_only_an_error_is_described(ran: Ran) -> None:
    """Specification, "Set Status": instrumentation sets no OK, and describes only errors."""
    for each in ran.tree():
        status = each.span.status
        is_error = status.code == Status.STATUS_CODE_ERROR
        assert status.code != Status.STATUS_CODE_OK
        assert bool(status.message) == is_error
        assert (names.ERROR_TYPE in each.attributes) == is_error, each.span.name


def test_nothing_was_dropped_from_a_span(ran: Ran) -> None:
    for each in ran.tree():
        span = each.span
        dropped = (
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
        )
        assert dropped == (0, 0, 0)


def within(span: Span, time: int) -> bool:
    return span.start_time_unix_nano <= time <= span.end_time_unix_nano
