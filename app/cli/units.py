"""Durations, amounts and rates in a few columns, and durations as people type them."""

import math
import re
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": _MINUTE, "h": _HOUR, "d": _DAY}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_TENTHS_BELOW: Final = 59.95
_THOUSAND: Final = 1000


def short(seconds: float | None) -> str:
    """A duration in six columns at most; nothing for None.

    >>> short(0.0123), short(1.26), short(75), short(7322), short(200_000)
    ('12ms', '1.3s', '1m15s', '2h02m', '2d07h')
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    seconds = max(0.0, seconds)
    if seconds < 0.0995:  # noqa: PLR2004 — what would not be 0.1s
        return f"{seconds * 1000:.0f}ms"
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, name, part, part_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // part:02d}{part_name}"
    return f"{whole}s"


def age(seconds: float | None) -> str:
    """How long ago something was, in whole units of one kind.

    >>> age(0.2), age(59), age(150), age(86_400 * 3)
    ('0s', '59s', '2m', '3d')
    """
    if seconds is None:
        return ""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}"
    return f"{max(0, int(seconds))}s"


def number(value: float) -> str:
    """A number without a needless fraction; large ones with k, M, G.

    >>> number(24), number(2.5), number(12_345), number(3_200_000)
    ('24', '2.5', '12.3k', '3.2M')
    """
    if not math.isfinite(value):
        return str(value)
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (_THOUSAND if name == 'k' else size):.3g}{name}"
    return f"{value:.4g}"


def rate(value: float) -> str:
    """So many in a second.

    >>> rate(5.4321), rate(12_345)
    ('5.43/s', '12.3k/s')
    """
    return f"{value:.3g}/s" if value < _THOUSAND else f"{number(value)}/s"


def seconds_of(text: str) -> float:
    """Seconds from `90`, `90s`, `1h30m`, `1.5h`.

    Raises:
        ValueError: it is no duration; the message says what is one.

    >>> seconds_of("90"), seconds_of("1h30m"), seconds_of("250ms")
    (90.0, 5400.0, 0.25)

    """
    stripped = text.strip()
    try:
        seconds = float(stripped)
    except ValueError:
        parts = _PART.findall(stripped)
        if not parts or "".join(amount + unit for amount, unit in parts) != stripped:
            raise ValueError(f"{text!r} is no duration: write 90, 90s, 5m or 1h30m") from None
        return sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{text!r} is no duration: it is a number of seconds from 0")
    return seconds
