import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from telemetry.export import ExportQueue, NoExportCounters, OncePerInterval
from telemetry.names import Signal
from telemetry.otlp import LogExport, SpanExport, export_logs, export_spans
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver

LONG_S = 600.0  # longer than any test: what is sent meanwhile was sent for another reason


class Collector(SpanExporter):
    """An exporter in memory that can be held and made to fail."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.instrumented: list[bool] = []
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.shut_down = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep the names; wait while held."""
        self.entered.set()
        self.free.wait()
        self.instrumented.append(is_instrumentation_enabled())
        self.batches.append([span.name for span in spans])
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        """Count it."""
        self.shut_down += 1


class Counted:
    """Counters that remember."""

    def __init__(self) -> None:
        self.sent = self.failed = self.dropped = 0
        self.length: Callable[[], int] = lambda: -1

    def observe_export_queue(self, length: Callable[[], int]) -> None:
        """Remember whom to ask."""
        self.length = length

    def exported(self, count: int) -> None:
        """Add."""
        self.sent += count

    def export_failed(self, count: int) -> None:
        """Add."""
        self.failed += count

    def exporter_dropped(self, count: int) -> None:
        """Add."""
        self.dropped += count


class _Rig:
    """A queue, what it counts, what it sends to, and how to end spans into it."""

    def __init__(self, *, sampled: bool = True, **options: float) -> None:
        self.collector, self.counted = Collector(), Counted()
        self.queue = ExportQueue(
            self.collector,
            signal=Signal.TRACES,
            counters=self.counted,
            max_queue=int(options.pop("max_queue", 100)),
            max_batch=int(options.pop("max_batch", 10)),
            delay_s=options.pop("delay_s", LONG_S),
            first_delay_s=options.pop("first_delay_s", LONG_S),
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False
        )
        provider.add_span_processor(SpanExport(self.queue))
        self._tracer = provider.get_tracer("test")

    def end(self, *names: str) -> None:
        for name in names:
            self._tracer.start_span(name).end()


@contextmanager
def rig(*, sampled: bool = True, **options: float) -> Iterator[_Rig]:
    made = _Rig(sampled=sampled, **options)
    try:
        yield made
    finally:
        made.collector.free.set()
        made.queue.close(30)


def test_a_batch_leaves_as_soon_as_it_is_full() -> None:
    with rig(max_batch=2) as made:
        made.end("a", "b", "c")
        made.collector.entered.wait(30)
        made.queue.force_flush()

        assert made.collector.batches == [["a", "b"], ["c"]]


def test_the_first_spans_leave_without_waiting_for_the_batch_or_its_delay() -> None:
    with rig(first_delay_s=0.01) as made:
        made.end("a")

        assert made.collector.entered.wait(30)


def test_later_spans_wait_for_the_delay() -> None:
    with rig(first_delay_s=0.01) as made:
        made.end("a")
        made.queue.force_flush()
        made.collector.entered.clear()
        made.end("b")

        assert not made.collector.entered.wait(0.2)
        assert made.counted.length() == 1


def test_a_flush_sends_what_waits_and_says_so() -> None:
    with rig() as made:
        made.end("a", "b")

        assert made.queue.force_flush()
        assert made.collector.batches == [["a", "b"]]
        assert (made.counted.sent, made.counted.length()) == (2, 0)


def test_a_flush_keeps_to_its_time_when_the_collector_hangs() -> None:
    with rig() as made:
        made.collector.free.clear()
        made.end("a")

        assert not made.queue.force_flush(timeout_millis=50)


def test_a_full_queue_drops_the_newest_and_counts_it() -> None:
    with rig(max_queue=3, max_batch=1) as made:
        made.collector.free.clear()
        made.end("in the exporter's hands")
        made.collector.entered.wait(30)
        made.end("b", "c", "d", "dropped", "dropped")

        assert (made.counted.dropped, made.counted.length()) == (2, 3)

        made.collector.free.set()
        made.queue.force_flush()

        assert [batch[0] for batch in made.collector.batches[1:]] == ["b", "c", "d"]


def test_a_failed_export_is_counted_and_the_next_one_goes_on() -> None:
    with rig() as made:
        made.collector.result = SpanExportResult.FAILURE
        made.end("a", "b")
        made.queue.force_flush()
        made.collector.result = SpanExportResult.SUCCESS
        made.end("c")
        made.queue.force_flush()

        assert (made.counted.failed, made.counted.sent) == (2, 1)


def test_what_is_lost_is_told_until_a_batch_is_sent_again() -> None:
    with rig(max_queue=2, max_batch=1) as made:
        made.collector.result = SpanExportResult.FAILURE
        made.end("failed")
        made.queue.force_flush()
        failing = made.queue.state()
        made.collector.result = SpanExportResult.SUCCESS
        made.end("sent")
        made.queue.force_flush()
        well = made.queue.state()

        assert (failing.failed, failing.since_success_s, failing.losing) == (1, None, True)
        assert (well.failed, well.since_success_s is None, well.losing) == (1, False, False)


def test_what_found_no_room_is_told_and_how_many_wait() -> None:
    with rig(max_queue=2, max_batch=1) as made:
        made.collector.free.clear()
        made.end("in the exporter's hands")
        made.collector.entered.wait(30)
        made.end("b", "c", "dropped")
        state = made.queue.state()

        assert (state.waiting, state.dropped, state.losing) == (2, 1, True)


def test_an_exporter_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with rig() as made:
        made.collector.result = ValueError("broken")
        made.end("a")

        assert made.queue.force_flush()
        assert made.counted.failed == 1
        assert "the exporter raised" in caplog.text


def test_an_export_makes_no_spans_of_its_own() -> None:
    with rig() as made:
        made.end("a")
        made.queue.force_flush()

        assert made.collector.instrumented == [False]
        assert is_instrumentation_enabled(), otel_context.get_current()


def test_an_unsampled_span_is_not_exported() -> None:
    with rig(sampled=False) as made:
        made.end("a")
        made.queue.force_flush()

        assert made.collector.batches == []


def test_closing_sends_what_is_left() -> None:
    with rig(max_batch=2) as made:
        made.end("a", "b", "c", "d", "e")

        assert made.queue.close(30)
        assert made.collector.batches == [["a", "b"], ["c", "d"], ["e"]]
        assert (made.counted.sent, made.collector.shut_down) == (5, 1)


def test_what_cannot_be_sent_before_the_bound_is_given_up_and_counted() -> None:
    with rig(max_batch=1) as made:
        made.collector.free.clear()
        made.end("held", "left", "left")
        made.collector.entered.wait(30)

        assert not made.queue.close(0.05)
        assert made.counted.dropped == 2


def test_a_span_after_the_end_is_counted_as_dropped() -> None:
    with rig() as made:
        made.queue.close(30)
        made.end("late")

        assert (made.counted.dropped, made.collector.batches) == (1, [])


def test_closing_twice_is_closing_once() -> None:
    with rig() as made:
        made.queue.close(30)
        made.queue.shutdown()

        assert made.collector.shut_down == 1


def test_threads_lose_no_span() -> None:
    with rig(max_queue=10_000, max_batch=64) as made:
        threads = [
            threading.Thread(target=made.end, args=[f"{number}"] * 500) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.queue.force_flush()

        assert (made.counted.sent, made.counted.dropped) == (2000, 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_exports_nor_hangs() -> None:
    with rig() as made:
        made.end("before")
        child = os.fork()
        if child == 0:
            made.end(*(["in the child"] * 1000))
            os._exit(7 if made.counted.dropped or made.counted.length() != 1 else 0)
        _, status = os.waitpid(child, 0)
        made.queue.force_flush()

        assert os.waitstatus_to_exitcode(status) == 0
        assert made.collector.batches == [["before"]]


# --- the exporters themselves: one queue, two signals ---------------------------------------------


def one_span(exporting: SpanExport) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(exporting)
    provider.get_tracer("test").start_span("one").end()


def one_log(exporting: LogExport) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(exporting)
    provider.get_logger("test").emit(body="one")


@dataclass(frozen=True, slots=True)
class Case:
    """A signal: how its export is opened, how an item of it is made, what its variables begin with.

    `received` tells the names of what has arrived.
    """

    open: Callable[..., Any]
    put: Callable[[Any], None]
    batches: str
    received: Callable[[OtlpReceiver], list[str]]


SPANS = Case(
    open=export_spans,
    put=one_span,
    batches="OTEL_BSP",
    received=lambda receiver: [each.span.name for each in receiver.spans],
)
LOGS = Case(
    open=export_logs,
    put=one_log,
    batches="OTEL_BLRP",
    received=lambda receiver: [each.record.body.string_value for each in receiver.logs],
)
both = pytest.mark.parametrize("case", [SPANS, LOGS], ids=["spans", "logs"])


@both
@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_what_is_exported_arrives_at_a_real_receiver(
    monkeypatch: pytest.MonkeyPatch, case: Case, compression: str
) -> None:
    counted = Counted()
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
        exporting = case.open(counters=counted)
        case.put(exporting)

        assert exporting.queue.close(30)
    assert case.received(receiver) == ["one"]
    assert receiver.headers[0]["x-tenant"] == "blue"
    assert counted.sent == 1


@both
@pytest.mark.parametrize("mode", [Mode.ERROR, Mode.REFUSE, Mode.HANG])
def test_what_no_receiver_takes_is_counted_as_failed(
    monkeypatch: pytest.MonkeyPatch, case: Case, mode: Mode
) -> None:
    counted = Counted()
    with OtlpReceiver(mode) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        exporting = case.open(counters=counted, bound_s=0.2)
        case.put(exporting)

        assert exporting.force_flush()
        assert (counted.sent, counted.failed) == (0, 1)
        exporting.shutdown()


@both
@pytest.mark.parametrize("wrong", ["none", "0", "-5", "1e9"])
def test_a_wrong_batch_variable_is_told_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: Case, wrong: str
) -> None:
    variable = f"{case.batches}_MAX_QUEUE_SIZE"
    monkeypatch.setenv(variable, wrong)
    case.open(counters=NoExportCounters()).queue.close(30)

    assert f"{variable}={wrong} is no positive number: 2048 is used" in caplog.text


@both
def test_the_batch_variables_are_obeyed(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    monkeypatch.setenv(f"{case.batches}_MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv(f"{case.batches}_MAX_EXPORT_BATCH_SIZE", "1")
    counted = Counted()
    with OtlpReceiver(Mode.HANG) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        exporting = case.open(counters=counted, bound_s=LONG_S)
        case.put(exporting)
        receiver.wait_for_requests(1)
        case.put(exporting)
        case.put(exporting)
        exporting.queue.close(0)
    exporting.queue._worker.join(30)  # the receiver has gone, and with it the last request

    assert counted.dropped == 2  # one found no room, one was left at the end


# --- log lines ------------------------------------------------------------------------------------


def heard(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_repeated_line_is_told_once_an_interval_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    logger = logging.getLogger("opentelemetry.exporter.otlp.common.http")
    quiet = OncePerInterval(30, monotonic=lambda: now[0]).install()
    try:
        for second in (0, 1, 29, 30, 31, 61):
            now[0] = second
            logger.error("failed: %s", second)
    finally:
        quiet.remove()

    assert heard(caplog) == [
        "failed: 0",
        "failed: 30 (2 more like this since the last time)",
        "failed: 61 (1 more like this since the last time)",
    ]


def test_lines_of_different_kinds_are_told_each(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("telemetry.export")
    quiet = OncePerInterval().install()
    try:
        logger.error("one")
        logger.error("two")
        logger.warning("one")
    finally:
        quiet.remove()

    assert heard(caplog) == ["one", "two", "one"]


def test_removed_it_holds_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    OncePerInterval().install().remove()
    logger = logging.getLogger("telemetry.export")
    logger.error("one")
    logger.error("one")

    assert heard(caplog) == ["one", "one"]


def test_two_that_are_installed_count_a_line_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = OncePerInterval().install(), OncePerInterval().install()
    logger = logging.getLogger("telemetry.export")
    try:
        for _ in range(3):
            logger.error("one")
    finally:
        second.remove()
        logger.error("one")
        first.remove()
    logger.error("one")

    assert heard(caplog) == ["one", "one"]
