"""Capture: what would have been narrated, kept in a list, for tests; no server and no event loop.

    from narration.capture import capture

    def test_loading_is_told() -> None:
        with capture() as captured:
            load("barn")

        captured.assert_said("Loading barn", action="load")

It is a story of its own like any other, with a log that keeps everything. It captures on the
context in which the block runs; nothing is shared between captures, so tests may run at once.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider

from narration.events import Event, NarrationEvent, OutputEvent, ProgressEvent
from narration.logs import NarrationHandler
from narration.masking import masker
from narration.processor import install
from narration.scope import Disclosure, Scope, current_scope, with_scope
from narration.story import NoCounters, Story
from telemetry.clock import Clock, SystemClock
from telemetry.names import DropReason

MAX_MESSAGE_BYTES: Final = 65_536
"""UTF-8 bytes that a captured text may have."""


class Captured(NoCounters):
    """What was told in a `capture` block, in order; also the log, spans and counters of its story.

    `events` holds everything; `spans` those that have ended; `drops` counts what was lost,
    by reason: most often what narration itself failed on.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.spans: list[ReadableSpan] = []
        self.drops: Counter[DropReason] = Counter()

    @property
    def messages(self) -> list[NarrationEvent]:
        """The narration messages."""
        return [event for event in self.events if isinstance(event, NarrationEvent)]

    @property
    def texts(self) -> list[str]:
        """The messages' texts, in the plain (human) voice."""
        return [message.text for message in self.messages]

    @property
    def outputs(self) -> list[Any]:
        """The chunks of output."""
        return [event.chunk for event in self.events if isinstance(event, OutputEvent)]

    @property
    def progress(self) -> list[ProgressEvent]:
        """The steps of progress."""
        return [event for event in self.events if isinstance(event, ProgressEvent)]

    def find(self, text: str | None = None, **expected: object) -> list[NarrationEvent]:
        """The messages whose text holds `text` and whose fields equal `expected`.

        A name in `expected` is an attribute of NarrationEvent (`action="load"`, `level="warn"`,
        `kind="log"`), else one of the message's own fields (`scene="barn"`).
        """
        return [
            message
            for message in self.messages
            if (text is None or text in message.text)
            and all(_value(message, name) == value for name, value in expected.items())
        ]

    def assert_said(self, text: str | None = None, **expected: object) -> NarrationEvent:
        """The first message that `find` gives; AssertionError with all that was said if none."""
        found = self.find(text, **expected)
        if found:
            return found[0]
        wanted = ", ".join(
            [*([] if text is None else [repr(text)]), *(f"{k}={v!r}" for k, v in expected.items())]
        )
        said = "\n".join(
            f"  {m.kind} {m.level} {m.actor} {m.action}: {m.text}" for m in self.messages
        )
        raise AssertionError(f"nothing was said with {wanted}; said was:\n{said or '  nothing'}")

    def append(self, event: Event) -> int:
        """Number and keep `event` (for the story)."""
        event.seq = len(self.events) + 1
        self.events.append(event)
        return event.seq

    def started(self, span: Span) -> None:
        """A span has started (for the story)."""

    def ended(self, span: ReadableSpan) -> None:
        """A span has ended (for the story)."""
        self.spans.append(span)

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Messages were lost (for the story)."""
        self.drops[reason] += count


@contextlib.contextmanager
def capture(
    *,
    provider: TracerProvider | None = None,
    first_party: Iterable[str] = (),
    allowed: Iterable[str] = (),
    secrets: Iterable[str] = (),
    mask: Callable[[str], str] | None = None,
    logs: bool = True,
    actor: str = "captured",
    job_id: str = "captured",
    attempt: int = 1,
    clock: Clock | None = None,
) -> Iterator[Captured]:
    """Capture what is narrated in the block and in whatever inherits its context.

    With a `provider`, spans that it makes in the block are captured too, with their events; it
    stays tapped afterwards, which costs nothing outside of a story. With `logs`, so are the log
    records that reach the root logger. `first_party` and `allowed` are those of `Disclosure`;
    `secrets` are masked literally, unless `mask` replaces masking altogether.
    """
    captured = Captured()
    story = Story(
        job_id,
        log=captured,
        spans=captured,
        clock=clock or SystemClock(),
        counters=captured,
        mask=mask or masker(secrets),
        max_message_bytes=MAX_MESSAGE_BYTES,
        consumer=None,
    )
    disclosure = Disclosure(first_party=frozenset(first_party), allowed=frozenset(allowed))
    scope = Scope(story=story, actor=actor, attempt=attempt, disclosure=disclosure)
    if provider is not None:
        install(provider)
    with contextlib.ExitStack() as stack:
        if logs and not _narrates_logs():
            handler = _CaptureHandler(story)
            logging.getLogger().addHandler(handler)
            stack.callback(logging.getLogger().removeHandler, handler)
        stack.callback(otel_context.detach, otel_context.attach(with_scope(scope)))
        yield captured


class _CaptureHandler(NarrationHandler):
    """Tells the records of one story only: each capture has its own handler on the root logger."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        """Tell `record` if it was made in this capture."""
        scope = current_scope()
        if scope is not None and scope.story is self._story:
            super().emit(record)


def _narrates_logs() -> bool:
    """Whether the application's own handler stands on the root logger, and tells all stories."""
    return any(type(handler) is NarrationHandler for handler in logging.getLogger().handlers)


def _value(message: NarrationEvent, name: str) -> object:
    own = name in message.__struct_fields__
    return getattr(message, name) if own else message.fields.get(name)
