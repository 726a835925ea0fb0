"""Threads that inherit the context of who starts them, for as long as somebody needs that.

OpenTelemetry's instrumentation patches `threading` for the whole process: so who needs it is
counted for the whole process too, and only the last one undoes it. What the application itself has
instrumented stays. It knows neither jobs nor narration.
"""

import contextlib
import threading
from collections.abc import Iterator

from opentelemetry.instrumentation.threading import ThreadingInstrumentor

_lock = threading.Lock()
_holders: set[object] = set()


@contextlib.contextmanager
def context_in_threads() -> Iterator[None]:
    """While the block runs, a thread begins with its starter's context."""
    holder = object()
    with _lock:
        instrumentor = ThreadingInstrumentor()
        if _holders or not instrumentor.is_instrumented_by_opentelemetry:
            if not _holders:
                instrumentor.instrument()
            _holders.add(holder)
    try:
        yield
    finally:
        with _lock:
            if holder in _holders:
                _holders.remove(holder)
                if not _holders:
                    instrumentor.uninstrument()
