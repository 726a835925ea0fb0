"""A span that waits, without the room that the SDK makes for its events and links in advance.

The SDK keeps either in a `deque`, which takes 760 bytes empty: half of what a span takes. A span of
a waiting job has an event or two and no links, and there may be thousands. This leans on private
names of the SDK (`_events`, `_links`, and what a `BoundedList` is made of); where they do not look
as expected, spans are left as they are. It does not know which spans wait.
"""

import functools
from collections import deque
from threading import Lock
from typing import Any, Final, cast

from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Span

from narration.tap import VOICE_ATTRIBUTE, voice_in

FEW: Final = 4
"""Items that are kept in a tuple; with more, the SDK's own deque is made."""

_PARTS: Final = {"_dq", "_lock", "dropped"}  # of a BoundedList as it is known here


class _Few(BoundedList[Any]):
    """A bounded list of few items; for everybody else it is the SDK's."""

    _dq: Any
    _lock: Lock

    def __init__(self, maxlen: int | None) -> None:  # for `from_seq`, and who copies
        super().__init__(maxlen)
        self._most = maxlen

    def append(self, item: Any) -> None:
        with self._lock:
            items = self._dq
            if type(items) is tuple and len(items) < FEW:
                self._dq = (*items, item)
                return
        self._make_room()
        super().append(item)

    def extend(self, seq: Any) -> None:
        self._make_room()
        super().extend(seq)

    def __repr__(self) -> str:
        return f"{BoundedList.__name__}({list(self._dq)}, maxlen={self._most})"

    def __deepcopy__(self, memo: dict[int, Any]) -> BoundedList[Any]:
        self._make_room()
        return super().__deepcopy__(memo)

    def _make_room(self) -> None:
        with self._lock:
            if type(self._dq) is tuple:
                self._dq = deque(self._dq, maxlen=self._most)


def slim(span: Span) -> None:
    """Let go of the room that `span` does not need yet; before any other thread has it."""
    private = cast("Any", span)
    if voice_in(span) is not None:
        setattr(private, VOICE_ATTRIBUTE, None)  # the next event makes it again
    for name in ("_events", "_links"):
        full = getattr(span, name, None)
        if type(full) is BoundedList and _is_known():
            few = _few(cast("Any", full))
            if few is not None:
                setattr(private, name, few)


@functools.cache
def _is_known() -> bool:
    """Whether this SDK's lists are made of what they are thought to be."""
    return vars(BoundedList(1)).keys() == _PARTS


def _few(full: Any) -> _Few | None:
    """The same list with the same lock; None where it holds more, or may hold less, than few."""
    items = full._dq  # noqa: SLF001 - see the module's docstring, here and below
    if len(items) > FEW or (items.maxlen is not None and items.maxlen < FEW):
        return None
    few: Any = object.__new__(_Few)
    few.dropped = full.dropped
    few._dq = tuple(items)  # noqa: SLF001
    few._lock = full._lock  # noqa: SLF001
    few._most = items.maxlen  # noqa: SLF001
    made: _Few = few
    return made
