"""Narration for any application: stories, their logs and the responses that stream them.

The library's composition, with nothing of the job server in it:

    narration = Narration(tracer_provider)

    with narration.story("import-42", actor="importer"):
        narrate("read", "Reading {path}", path=path)

    return narration.respond("import-42", request)

A job server opens stories of its own by `open_story` and keeps them itself; those that `story`
tells are kept here, the newest `Limits.stories` of them.
"""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.requests import Request
from starlette.responses import Response

from narration.encoding import encode
from narration.events import EndEvent, Event, StateEvent
from narration.log import LOG_BYTES, LockedLog, NarrationLog, Schedule
from narration.log_events import LogEvents
from narration.masking import Mask, cut, masker
from narration.processor import install
from narration.reader import NoStreamCounters, StreamCounters
from narration.resume import InvalidStreamQuery, parse_query
from narration.scope import Disclosure, Scope, with_scope
from narration.spans import SpanLog
from narration.sse import stream_response
from narration.story import Consumer, Counters, NoCounters, Story
from narration.streams import Streams
from telemetry import names
from telemetry.clock import Clock, SystemClock, rfc3339
from telemetry.names import Reason, State


class NarrationCounters(Counters, StreamCounters, Protocol):
    """What stories and streams count; `telemetry.metrics.Metrics` and a no-op both fit."""


class NoNarrationCounters(NoCounters, NoStreamCounters):
    """Counts nothing: for an application that keeps no metrics."""


class LogOf(Protocol):
    """Makes a story's log."""

    def __call__(
        self,
        job_id: str,
        *,
        epoch: str,
        limit: int,
        schedule: Schedule,
        most_bytes: int = LOG_BYTES,
    ) -> NarrationLog:
        """A new log, as `NarrationLog` takes these."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process keeps, at most.

    Events, their bytes and spans are of one story, bytes also of one message; `stories` are told.
    """

    log_events: int = 10_000
    log_bytes: int = LOG_BYTES
    spans: int = 1_000
    message_bytes: int = 16 * 1024
    stories: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStory:
    """A story, with where its events and its spans are kept."""

    story: Story
    log: NarrationLog
    spans: SpanLog


class StoryUnderWayError(RuntimeError):
    """A story of this id is still being told; each id tells one at a time."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the story {job_id!r} is still being told: end it, or take another id")
        self.job_id = job_id


class Narration:
    """Tells stories and streams them.

    `provider` gets the live tap (see `install`); without one, only what `narrate` says directly is
    told. The loop that stores is the one of the first call inside a running loop; where none ever
    ran, stories are told under a lock. Pass `streams` to share them or to set their heartbeat; by
    default they are told of the server's exit by watching for it. `fast_events` makes plain spans
    and events without the SDK's cleaning (see `fast_events` and `fast_spans`). `log_events` emits
    each message as a log record as well; all of them then take the slower road. `log_of` makes the
    logs of stories that a loop stores.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        clock: Clock | None = None,
        counters: NarrationCounters | None = None,
        mask: Mask | None = None,
        limits: Limits | None = None,
        streams: Streams | None = None,
        fast_events: bool = True,
        log_events: LogEvents | None = None,
        log_of: LogOf = NarrationLog,
    ) -> None:
        self.clock = clock or SystemClock()
        self.counters = counters or NoNarrationCounters()
        self.mask = mask or masker()
        self.limits = limits or Limits()
        self.streams = streams or Streams(counters=self.counters, watch_exit=True)
        self._fast_events = fast_events
        self._log_events = log_events
        self._log_of = log_of
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()
        self._told: dict[str, OpenStory] = {}
        self._under_way: set[str] = set()
        if provider is not None:
            self.install(provider)

    def install(self, provider: TracerProvider) -> None:
        """Tap `provider` and make the spans of stories with it; tapping it again does nothing."""
        install(provider, fast=self._fast_events)
        self._tracer = provider.get_tracer(names.SCOPE)

    def bind(self) -> None:
        """Store on the running loop from now on; `RuntimeError` where none runs.

        Done at the first use inside a loop; an application with several loops chooses by this.
        """
        loop = asyncio.get_running_loop()
        consumer = self._consumer
        if consumer is None or consumer.loop.is_closed():
            self._consumer = Consumer(loop)

    def open_story(self, job_id: str, *, epoch: str | None = None) -> OpenStory:
        """A new story, told by whoever holds a `Scope` of it, kept by whoever opened it.

        `epoch` marks its log's ids and is never used for another log of the same id (random by
        default). From a loop's thread, or while one is bound, events are stored on that loop.
        """
        consumer = self._bound()
        log_of = self._log_of if consumer is not None else LockedLog
        log = log_of(
            job_id,
            epoch=epoch or secrets.token_hex(4),
            limit=self.limits.log_events,
            most_bytes=self.limits.log_bytes,
            schedule=self._wake_later if consumer is None else consumer.schedule,
        )
        spans, events = SpanLog(self.limits.spans), self._log_events
        schedule = None if consumer is None else consumer.schedule
        story = Story(
            job_id,
            log=log if events is None else events.in_front_of(log, spans, schedule),
            spans=spans,
            clock=self.clock,
            counters=self.counters,
            mask=self.mask,
            max_message_bytes=self.limits.message_bytes,
            consumer=consumer,
        )
        return OpenStory(story=story, log=log, spans=spans)

    @contextlib.contextmanager
    def story(
        self, job_id: str, *, actor: str = "story", disclosure: Disclosure | None = None
    ) -> Iterator[Story]:
        """Tell a story: what happens inside is narrated, and its end is the stream's end.

        `actor` names who speaks, and the span. An exception ends it as failed, a cancellation as
        cancelled; both go on. An ended story of the same id is replaced; `StoryUnderWayError` if it
        has not ended.
        """
        story = self._begin(job_id).story
        scope = Scope(story=story, actor=actor, disclosure=disclosure or Disclosure())
        self._tell_state(story, State.RUNNING)
        token = otel_context.attach(with_scope(scope))
        try:
            with self._tracer.start_as_current_span(actor, attributes={names.JOB_ID: job_id}):
                yield story
        except asyncio.CancelledError:
            self._end(story, State.CANCELLED, marker="[CANCELLED]")
            raise
        except BaseException as error:
            self._fail(story, error)
            raise
        else:
            self._end(story, State.COMPLETED, marker="[DONE]")
        finally:
            otel_context.detach(token)
            self._under_way.discard(job_id)

    def find(self, job_id: str) -> OpenStory | None:
        """The story told here under this id, ended or not; None if there is none any more."""
        return self._told.get(job_id)

    def respond(self, job_id: str, request: Request) -> Response:
        """The stream of a story as `request` asks for it (section 5 of the stream's contract).

        404 where there is no such story, 422 for a query that means nothing, both as problem
        details (RFC 9457); 204 to a client that has seen all of it.
        """
        told = self._told.get(job_id)
        if told is None:
            return _problem(404, "Not Found", "there is no such story, or it is not kept any more")
        try:
            query = parse_query(request.query_params, request.headers.get("last-event-id"))
        except InvalidStreamQuery as error:
            return _problem(422, "Unprocessable Content", str(error))
        return stream_response(told.log, query, self.streams, on_attach=self.bind)

    def _bound(self) -> Consumer | None:
        with contextlib.suppress(RuntimeError):  # no loop runs on this thread
            self.bind()
        consumer = self._consumer
        return None if consumer is None or consumer.loop.is_closed() else consumer

    def _wake_later(self, notify: Callable[[], None]) -> None:
        """Wake the readers of a story that is told under a lock: they are on the bound loop."""
        consumer = self._consumer
        if consumer is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads
                consumer.loop.call_soon_threadsafe(notify)

    def _begin(self, job_id: str) -> OpenStory:
        told = self.open_story(job_id)
        with self._lock:
            if job_id in self._under_way:
                raise StoryUnderWayError(job_id)
            gone = [self._told.pop(job_id)] if job_id in self._told else []
            self._told[job_id] = told
            self._under_way.add(job_id)
            gone += [self._told.pop(oldest) for oldest in self._surplus()]
        for old in gone:
            self._forget(old.log)
        return told

    def _surplus(self) -> list[str]:
        """The ids that are too many: ended stories first, the oldest of them first."""
        surplus = len(self._told) - self.limits.stories
        if surplus <= 0:
            return []
        return sorted(self._told, key=self._under_way.__contains__)[:surplus]

    def _forget(self, log: NarrationLog) -> None:
        consumer = self._consumer
        if (
            isinstance(log, LockedLog)
            or consumer is None
            or threading.get_ident() == consumer.thread_id
            or consumer.loop.is_closed()
        ):
            log.forget()
        else:
            consumer.loop.call_soon_threadsafe(log.forget)

    def _fail(self, story: Story, error: BaseException) -> None:
        message, _ = cut(story.mask(str(error)), story.max_message_bytes)
        kind = type(error).__name__
        failure = {"reason": Reason.ERROR.value, "type": kind, "message": message}
        marker = f"[ERROR] {message or kind}"
        self._end(story, State.FAILED, marker=marker, failure=failure)

    def _end(
        self,
        story: Story,
        state: State,
        *,
        marker: str,
        failure: dict[str, str] | None = None,
    ) -> None:
        reason = None if failure is None else failure["reason"]
        self._tell_state(story, state, reason)
        at = rfc3339(self.clock.wall_ns())
        story.put(_end_event, at, state, reason, failure, marker)

    def _tell_state(self, story: Story, state: State, reason: str | None = None) -> None:
        story.put(_state_event, rfc3339(self.clock.wall_ns()), state, reason)


def _state_event(at: str, state: State, reason: str | None) -> Event:
    return StateEvent(at=at, state=state.value, reason=reason, attempt=1)


def _end_event(
    at: str, state: State, reason: str | None, failure: dict[str, str] | None, marker: str
) -> Event:
    return EndEvent(at=at, state=state.value, reason=reason, failure=failure, marker=marker)


def _problem(status: int, title: str, detail: str) -> Response:
    body = encode({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status_code=status, media_type="application/problem+json")
