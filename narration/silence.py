"""A story that nobody hears: what is said to it goes nowhere, at the cost of a call.

A scope of it takes the place of a job's own where narration is off, so that no one who tells has to
ask whether it is. It does not know which job speaks.
"""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span

from narration.events import Event
from narration.masking import Mask
from narration.story import Make, NoCounters, Story
from telemetry.clock import Clock


class Silence(Story):
    """Takes everything and keeps nothing; one serves any number of jobs."""

    __slots__ = ()

    def __init__(self, *, clock: Clock, mask: Mask, max_message_bytes: int) -> None:
        super().__init__(
            "",
            log=_Nowhere(),
            spans=_Nothing(),
            clock=clock,
            counters=NoCounters(),
            mask=mask,
            max_message_bytes=max_message_bytes,
            consumer=None,
        )

    def put(self, make: Make, *args: Any) -> None:
        """Nothing: nothing is even made."""

    def put_data(self, make: Make, *args: Any) -> None:
        """Nothing."""


class _Nowhere:
    """A log that has always ended."""

    def append(self, event: Event) -> int | None:  # noqa: ARG002 - the protocol's signature
        return None


class _Nothing:
    """Keeps no spans."""

    def started(self, span: Span) -> None:
        """Nothing."""

    def ended(self, span: ReadableSpan) -> None:
        """Nothing."""
