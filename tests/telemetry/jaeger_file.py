"""The file that Jaeger's page uploads, as its own documented model has it, read strictly.

Written from Jaeger's JSON model (`data[].traceID, spans[].references, tags, logs, processes`), not
from what we write: an unknown field, a wrong type or a value that its `type` denies is an error.
It knows nothing of jobs.
"""

import base64
from typing import Literal

import msgspec


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class KeyValue(_Strict, frozen=True):
    """A tag, or a field of a log."""

    key: str
    type: Literal["string", "bool", "int64", "float64", "binary"]
    value: str | bool | int | float

    @property
    def plain(self) -> str | bool | int | float | bytes:
        """The value as what its type says."""
        match self.type, self.value:
            case ("string", str()) | ("bool", bool()):
                return self.value
            case "int64", int() | str() if self.value is not True and self.value is not False:
                return int(self.value)
            case "float64", int() | float():
                return float(self.value)
            case "binary", str():
                return base64.b64decode(self.value, validate=True)
            case _:
                raise TypeError(f"{self.key} is no {self.type}: {self.value!r}")


class Log(_Strict, frozen=True):
    """What happened on a span; microseconds since the Unix epoch."""

    timestamp: int
    fields: list[KeyValue]


class Reference(_Strict, frozen=True):
    """Another span that this one belongs to or follows."""

    refType: Literal["CHILD_OF", "FOLLOWS_FROM"]  # noqa: N815 - Jaeger's name
    traceID: str  # noqa: N815 - Jaeger's name
    spanID: str  # noqa: N815 - Jaeger's name


class Process(_Strict, frozen=True):
    """Who made spans."""

    serviceName: str  # noqa: N815 - Jaeger's name
    tags: list[KeyValue]


class Span(_Strict, frozen=True):
    """A span; start and duration in microseconds."""

    traceID: str  # noqa: N815 - Jaeger's name
    spanID: str  # noqa: N815 - Jaeger's name
    flags: int
    operationName: str  # noqa: N815 - Jaeger's name
    references: list[Reference]
    startTime: int  # noqa: N815 - Jaeger's name
    duration: int
    tags: list[KeyValue]
    logs: list[Log]
    processID: str  # noqa: N815 - Jaeger's name
    warnings: list[str] | None


class Trace(_Strict, frozen=True):
    """A trace."""

    traceID: str  # noqa: N815 - Jaeger's name
    spans: list[Span]
    processes: dict[str, Process]
    warnings: list[str] | None


class JaegerFile(_Strict, frozen=True):
    """What is uploaded: the answer of Jaeger's own query interface."""

    data: list[Trace]
    total: int
    limit: int
    offset: int
    errors: list[object] | None


def plain(tags: list[KeyValue]) -> dict[str, str | bool | int | float | bytes]:
    """Tags as a dict; one key twice is an error."""
    found = {tag.key: tag.plain for tag in tags}
    assert len(found) == len(tags)
    return found
