"""What `@operation` may be told, and which values are legal.

It knows no function and no job; what an option means is decided where it is used.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from telemetry.names import Priority

ExceptionTypes = type[BaseException] | Iterable[type[BaseException]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the decorator was told; None is what it was not told. Times are in seconds."""

    isolation: Literal["auto", "process"] = "auto"
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    deadline_s: float | None = None
    max_attempts: int | None = None
    base_delay_s: float | None = None
    multiplier: float | None = None
    max_delay_s: float | None = None
    jitter: Literal["full", "none"] | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    never_on: tuple[type[BaseException], ...] = ()
    concurrency: int | None = None
    key_concurrency: int = 1
    priority: Priority | None = None
    disclose: frozenset[str] = frozenset()


_NUMBERS: Final[Mapping[str, tuple[float, bool]]] = {  # least value, and whether it is legal itself
    "timeout_s": (0, False),
    "queue_timeout_s": (0, False),
    "deadline_s": (0, False),
    "base_delay_s": (0, True),
    "multiplier": (1, True),
    "max_delay_s": (0, True),
}
_COUNTS: Final = ("max_attempts", "concurrency", "key_concurrency")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "isolation": ("auto", "process"),
    "jitter": ("full", "none"),
    "priority": tuple(each.value for each in Priority),
}


def checked_options(**given: Any) -> Options:
    """The options that `@operation` was given, checked.

    Raises:
        ValueError: one is out of range; the message names it and what is legal.
        TypeError: there is no such option.

    """
    unknown = given.keys() - set(Options.__dataclass_fields__)
    if unknown:
        legal = ", ".join(Options.__dataclass_fields__)
        raise TypeError(f"@operation has no option {', '.join(sorted(unknown))}; it has: {legal}")
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name in _NUMBERS:
            _require_number(name, value, *_NUMBERS[name])
        elif name in _COUNTS:
            _require_count(name, value)
        elif name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
    for name in ("retry_on", "never_on"):
        if name in given:
            given[name] = _exception_types(name, given[name])
    if "priority" in given:
        given["priority"] = Priority(given["priority"])
    disclose = given.get("disclose", ())
    if isinstance(disclose, str):
        raise ValueError(  # noqa: TRY004  # one error type for all options
            f"disclose takes a list of attribute names, not the text {disclose!r}"
        )
    return Options(**{**given, "disclose": frozenset(disclose)})


def _require_number(name: str, value: Any, least: float, legal: bool) -> None:  # noqa: FBT001  # a column of the table
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or not math.isfinite(value) or value < least or (value == least and not legal):
        bound = "at least" if legal else "more than"
        raise ValueError(f"{name} must be a finite number of {bound} {least:g}, not {value!r}")


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")


def _exception_types(name: str, value: Any) -> tuple[type[BaseException], ...]:
    types = (value,) if isinstance(value, type) else tuple(value)
    for each in types:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ValueError(  # noqa: TRY004  # one error type for all options
                f"{name} takes exception types, not {each!r}"
            )
    return types
