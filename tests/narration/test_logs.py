import asyncio
import contextvars
import logging
import threading
import warnings
from collections.abc import Iterator

import pytest
from opentelemetry import context as otel_context
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import LoggingHandler as DeprecatedHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from narration.capture import capture
from narration.logs import (
    REMEMBERED,
    NarrationHandler,
    NarrationLogProcessor,
    Once,
    install_logs,
    level_of_logging,
    level_of_severity,
)
from telemetry import names
from telemetry.names import Level

BAD_INT = "invalid literal for int() with base 10: 'bad'"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A first-party logger of its own, which hands nothing on."""
    logger = logging.getLogger("jobs.test_logs")
    logger.propagate = False
    logger.setLevel(logging.NOTSET + 1)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.fixture
def otel() -> Iterator[LoggerProvider]:
    provider = LoggerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def test_a_record_under_a_story_is_told(logger: logging.Logger) -> None:
    logger.addHandler(NarrationHandler())
    with capture(logs=False, first_party=["jobs"]) as captured:
        logger.warning("could not load %s", "barn", extra={"scene": "barn"})

    (said,) = captured.messages
    assert (said.kind, said.level, said.actor) == ("log", "warn", "test_logs")
    assert said.text == "could not load barn"
    assert said.fields == {"scene": "barn"}


def test_a_record_outside_of_any_story_is_told_to_nobody(logger: logging.Logger) -> None:
    logger.addHandler(NarrationHandler())
    with capture(logs=False) as captured:
        contextvars.Context().run(logger.warning, "elsewhere")

    assert captured.events == []


def test_a_third_party_record_is_told_without_its_attributes() -> None:
    logger = logging.getLogger("thirdparty.pool")
    handler = NarrationHandler()
    logger.addHandler(handler)
    with capture(logs=False) as captured:
        logger.warning("retrying", extra={"url": "/private"})
    logger.removeHandler(handler)

    (said,) = captured.messages
    assert (said.text, said.fields) == ("retrying", {})


@pytest.mark.parametrize("name", ["narration", "narration.story", "telemetry.export", "app.engine"])
def test_the_servers_own_records_are_not_told(name: str, otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False) as captured:
        NarrationHandler().handle(logging.makeLogRecord({"name": name, "msg": "x"}))
        otel.get_logger(name).emit(body="x")

    assert captured.events == []


def test_an_exception_is_told_by_type_and_message(logger: logging.Logger) -> None:
    logger.addHandler(NarrationHandler())
    with capture(logs=False, first_party=["jobs"]) as captured:
        try:
            int("bad")
        except ValueError:
            logger.exception("it failed")

    (said,) = captured.messages
    assert (said.level, said.text) == ("error", "it failed: ValueError: " + BAD_INT)
    assert said.fields[names.EXCEPTION_STACKTRACE].startswith("Traceback")


def test_an_exception_of_a_third_party_hides_its_message() -> None:
    logger = logging.getLogger("thirdparty")
    handler = NarrationHandler()
    logger.addHandler(handler)
    with capture(logs=False) as captured:
        logger.error("it failed", exc_info=asyncio.QueueFull("private"))
    logger.removeHandler(handler)

    (said,) = captured.messages
    assert said.text == "it failed: asyncio.queues.QueueFull"
    assert said.fields == {names.EXCEPTION_TYPE: "asyncio.queues.QueueFull"}


def test_a_record_whose_arguments_do_not_fit_is_told_by_its_template() -> None:
    record = logging.LogRecord("jobs", logging.INFO, "f", 1, "%d of %d", ("x",), None)
    with capture(logs=False, first_party=["jobs"]) as captured:
        NarrationHandler().handle(record)

    assert captured.texts == ["%d of %d"]


@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        ("no values, 100 %", (), "no values, 100 %"),
        ("got %s from %(host)s: %5.2f %%", ("x",), "got … from …: … %"),
        ('HTTP Request: %s %s "%s %d %s"', (1, 2, 3, 4, 5), 'HTTP Request: … … "… … …"'),
        ("%(page)03d of %(private)r, %(absent)s", ({"page": 7, "private": "x"},), "007 of …, …"),
        ("%(page)d", ({"page": "seven"},), "…"),
        (ValueError("private"), (), "ValueError"),
        ({"private": 1}, (), "…"),
    ],
)
def test_the_values_in_the_text_of_a_third_party_are_withheld(
    message: object, arguments: tuple[object, ...], told: str
) -> None:
    record = logging.LogRecord("other", logging.INFO, "f", 1, message, arguments, None)
    with capture(logs=False, allowed=["page", "absent"]) as captured:
        NarrationHandler().handle(record)

    assert captured.texts == [told]


def test_the_text_of_a_third_party_is_told_in_full_where_that_is_allowed_by_name() -> None:
    record = logging.LogRecord("other", logging.INFO, "f", 1, "got %s", ("it",), None)
    with capture(logs=False, allowed=["log.record.original"]) as captured:
        NarrationHandler().handle(record)

    assert captured.texts == ["got it"]


def test_a_provider_of_logs_is_listened_to_once(otel: LoggerProvider) -> None:
    assert install_logs(otel) is install_logs(otel)

    with capture(logs=False) as captured:
        otel.get_logger("jobs").emit(body="once")

    assert captured.texts == ["once"]


def test_a_record_from_a_thread_with_the_context_is_told(logger: logging.Logger) -> None:
    logger.addHandler(NarrationHandler())
    with capture(logs=False) as captured:
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(logger.info, "from a thread"))
        thread.start()
        thread.join()

    assert captured.texts == ["from a thread"]


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (1, Level.TRACE),
        (10, Level.DEBUG),
        (20, Level.INFO),
        (25, Level.INFO),
        (30, Level.WARN),
        (40, Level.ERROR),
        (50, Level.FATAL),
        (60, Level.FATAL),
    ],
)
def test_a_logging_level_is_the_highest_that_it_reaches(number: int, level: Level) -> None:
    assert level_of_logging(number) is level


@pytest.mark.parametrize(
    ("number", "level"),
    [(0, Level.INFO), (1, Level.TRACE), (8, Level.DEBUG), (9, Level.INFO), (24, Level.FATAL)],
)
def test_a_severity_is_of_the_range_that_holds_it(number: int, level: Level) -> None:
    assert level_of_severity(number) is level


def test_an_otel_record_is_told(otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False, first_party=["jobs"]) as captured:
        otel.get_logger("jobs.load").emit(
            body="loading", severity_number=SeverityNumber.WARN2, attributes={"n": 1}
        )

    (said,) = captured.messages
    assert (said.kind, said.level, said.actor, said.text) == ("log", "warn", "load", "loading")
    assert said.fields == {"n": 1}


def test_a_log_based_event_is_told_as_an_event(otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False, first_party=["jobs"]) as captured:
        otel.get_logger("jobs").emit(event_name="page.read", attributes={"n": 1})
        otel.get_logger("other").emit(event_name="query", attributes={"sql": "x"})

    first, second = captured.messages
    assert (first.kind, first.action, first.text) == ("event", "page.read", "page.read n=1")
    assert (second.action, second.text, second.fields) == ("query", "query", {})


def test_an_otel_record_goes_to_the_story_of_its_context(otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False) as theirs:
        context = otel_context.get_current()
        with capture(logs=False) as ours:
            otel.get_logger("jobs").emit(body="for them", context=context)
            otel.get_logger("jobs").emit(body="for us", context=Context({"other": 1}))

    assert (theirs.texts, ours.texts) == (["for them"], ["for us"])


def test_a_body_that_is_no_text_is_told_as_json(otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False, first_party=["jobs"]) as captured:
        otel.get_logger("jobs").emit(body={"a": [1, b"x"]})

    assert captured.texts == ['{"a":[1,"x"]}']


def test_a_third_partys_body_that_is_no_text_is_withheld(otel: LoggerProvider) -> None:
    otel.add_log_record_processor(NarrationLogProcessor())
    with capture(logs=False) as captured:
        otel.get_logger("other").emit(body={"a": "private"})
        otel.get_logger("other").emit(event_name="order.sent", body={"a": "private"})

    assert captured.texts == ["…", "order.sent"]


def test_a_record_knows_its_span_and_the_parent(otel: LoggerProvider) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("jobs")
    otel.add_log_record_processor(NarrationLogProcessor())
    with (
        capture(logs=False) as captured,
        tracer.start_as_current_span("outer") as outer,
        tracer.start_as_current_span("inner") as inner,
    ):
        otel.get_logger("jobs").emit(body="x")
        NarrationHandler().handle(logging.makeLogRecord({"name": "jobs", "msg": "y"}))
    provider.shutdown()

    for said in captured.messages:
        assert said.span_id == f"{inner.get_span_context().span_id:016x}"
        assert said.parent_span_id == f"{outer.get_span_context().span_id:016x}"


@pytest.mark.parametrize("otel_first", [True, False])
def test_a_record_that_takes_both_roads_is_told_once(
    otel_first: bool,
    logger: logging.Logger,
    otel: LoggerProvider,
) -> None:
    once = Once()
    otel.add_log_record_processor(NarrationLogProcessor(once=once))
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK's
    otel.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handlers: list[logging.Handler] = [
        LoggingHandler(logger_provider=otel),
        NarrationHandler(once=once),
    ]
    for handler in handlers if otel_first else reversed(handlers):
        logger.addHandler(handler)
    with capture(logs=False, first_party=["jobs"]) as captured:
        logger.warning("one", extra={"n": 1})
        logger.warning("two")

    assert captured.texts == ["one", "two"]
    assert captured.messages[0].fields == {"n": 1}
    exported = [dict(data.log_record.attributes or {}) for data in exporter.get_finished_logs()]
    assert exported == [{"n": 1}, {}]  # nothing of ours is left on the user's record


def test_the_sdks_own_handler_is_known_too(logger: logging.Logger, otel: LoggerProvider) -> None:
    once = Once()
    otel.add_log_record_processor(NarrationLogProcessor(once=once))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        logger.addHandler(DeprecatedHandler(logger_provider=otel))
    logger.addHandler(NarrationHandler(once=once))
    with capture(logs=False) as captured:
        logger.warning("one")

    assert captured.texts == ["one"]


def test_records_that_look_the_same_are_all_told(
    logger: logging.Logger, otel: LoggerProvider
) -> None:
    once = Once()
    otel.add_log_record_processor(NarrationLogProcessor(once=once))
    logger.addHandler(LoggingHandler(logger_provider=otel))
    logger.addHandler(NarrationHandler(once=once))
    with capture(logs=False) as captured:
        for _ in range(3):
            record = logging.makeLogRecord({"name": logger.name, "msg": "x", "levelno": 20})
            record.created = 1_700_000_000.5
            logger.handle(record)

    assert captured.texts == ["x", "x", "x"]


def test_once_forgets_the_oldest_records() -> None:
    once = Once()
    for number in range(REMEMBERED + 10):
        assert once.first("a", number)

    assert not once.first("b", REMEMBERED)
    assert once.first("b", 0)


def test_a_failure_is_counted_and_not_raised() -> None:
    record = logging.makeLogRecord({"name": "jobs", "msg": "x"})
    record.created = "never"  # type: ignore[assignment]  # that is the point
    with capture(logs=False) as captured:
        NarrationHandler().handle(record)

    assert sum(captured.drops.values()) == 1


def test_the_processor_keeps_nothing_back() -> None:
    processor = NarrationLogProcessor()
    processor.shutdown()

    assert processor.force_flush()
