"""How the moments of a job are phrased: one table, three voices.

Human is plain and in the present tense; cute is warm; story is a line of a tale. The table also
says which attributes each moment carries: the engine's observer sets them, the templates use them,
and a test holds both to it. This module does not know how a moment comes about.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from telemetry import names
from telemetry.names import Level, Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """How one moment is told.

    `attributes` are those that the moment carries, all of them always. In a template an attribute
    is named without its `job.` and with `_` for `.`; one that ends in `_s` is told as a duration.
    """

    level: Level
    attributes: tuple[str, ...]
    human: str
    cute: str
    story: str


@dataclass(frozen=True, slots=True)
class Told:
    """A moment in its three voices."""

    human: str
    cute: str
    story: str


PHRASES: Final[Mapping[Moment, Phrase]] = {
    Moment.DEFERRED: Phrase(
        level=Level.INFO,
        attributes=(names.JOB_OPERATION, names.JOB_PRIORITY, names.JOB_TIMEOUT_S),
        human="Waiting up to {timeout_s} for a first reader before {operation} is queued",
        cute="{operation} is all ears: it starts once someone listens 🎧",
        story="“I begin when somebody listens,” said {operation}, “or never, after {timeout_s}.”",
    ),
    Moment.QUEUED: Phrase(
        level=Level.INFO,
        attributes=(names.JOB_OPERATION, names.JOB_PRIORITY, names.JOB_QUEUE_POSITION),
        human="{operation} is queued with priority {priority}, {queue_position} ahead of it",
        cute="{operation} takes a number and finds a comfy chair, {queue_position} ahead of it 🪑",
        story="“How many are before me?” asked {operation}. “{queue_position},” said the queue.",
    ),
    Moment.STARTED: Phrase(
        level=Level.INFO,
        attributes=(
            names.JOB_OPERATION,
            names.JOB_ATTEMPT,
            names.JOB_MAX_ATTEMPTS,
            names.JOB_WAIT_S,
        ),
        human="{operation} starts, attempt {attempt} of {max_attempts}, after waiting {wait_s}",
        cute="Here we go! {operation} rolls up its sleeves (try {attempt} of {max_attempts}) 🚀",
        story="After {wait_s} a voice called: “{operation}, it is your turn.” Try {attempt} began.",
    ),
    Moment.ATTEMPT_FAILED: Phrase(
        level=Level.WARN,
        attributes=(
            names.JOB_ATTEMPT,
            names.JOB_MAX_ATTEMPTS,
            names.JOB_OUTCOME,
            names.JOB_RUN_S,
            names.ERROR_TYPE,
            names.JOB_ERROR,
        ),
        human="Attempt {attempt} of {max_attempts} fails after {run_s}: {error}",
        cute="Oopsie on try {attempt} of {max_attempts}: {error} 🩹",
        story="“It went wrong after {run_s},” sighed try {attempt}. “They call it: {error}.”",
    ),
    Moment.ATTEMPT_TIMED_OUT: Phrase(
        level=Level.WARN,
        attributes=(
            names.JOB_ATTEMPT,
            names.JOB_MAX_ATTEMPTS,
            names.JOB_TIMEOUT_KIND,
            names.JOB_TIMEOUT_S,
        ),
        human="Attempt {attempt} of {max_attempts} runs out of {timeout_kind} time, {timeout_s}",
        cute="Try {attempt} of {max_attempts} dozed past its {timeout_s} alarm ⏰",
        story="“Time,” said the clock after {timeout_s}, and try {attempt} laid down its tools.",
    ),
    Moment.RETRY_SCHEDULED: Phrase(
        level=Level.INFO,
        attributes=(
            names.JOB_ATTEMPT,
            names.JOB_MAX_ATTEMPTS,
            names.JOB_OUTCOME,
            names.JOB_DELAY_S,
            names.JOB_NEXT_RETRY_AT,
        ),
        human="Trying again in {delay_s}, at {next_retry_at}",
        cute="A deep breath of {delay_s}, and then we try again 🌱",
        story="“Rest for {delay_s},” said the narrator. “At {next_retry_at} we try again.”",
    ),
    Moment.CANCEL_REQUESTED: Phrase(
        level=Level.INFO,
        attributes=(names.JOB_CANCEL_ORIGIN, names.JOB_STATE),
        human="Cancellation is requested (by: {cancel_origin}) while the job is {state}",
        cute="Someone ({cancel_origin}) gently asks us to stop ✋",
        story="“Stop,” came the word, by way of {cancel_origin}, while the job was {state}.",
    ),
    Moment.LOOP_BLOCKED: Phrase(
        level=Level.WARN,
        attributes=(
            names.JOB_OPERATION,
            names.JOB_ATTEMPT,
            names.JOB_BLOCKED_S,
            names.CODE_FUNCTION_NAME,
            names.CODE_STACKTRACE,
        ),
        human="{operation} holds up the whole server for {blocked_s}, in {code_function_name}",
        cute="{operation} hogs the only road for {blocked_s}, in {code_function_name} 🐘",
        story="“Make way!” cried all for {blocked_s}; {operation} sat in {code_function_name}.",
    ),
    Moment.ABANDONED: Phrase(
        level=Level.ERROR,
        attributes=(names.JOB_OPERATION, names.JOB_ATTEMPT),
        human="Attempt {attempt} of {operation} does not stop in time and is abandoned",
        cute="Try {attempt} of {operation} just won't come home; we leave the light on 🕯️",
        story="“It does not hear us,” said the narrator, and left try {attempt} behind.",
    ),
    Moment.COMPLETED: Phrase(
        level=Level.INFO,
        attributes=(names.JOB_OPERATION, names.JOB_ATTEMPT, names.JOB_RUN_S),
        human="{operation} completes on attempt {attempt} after {run_s}",
        cute="Ta-da! {operation} is done in {run_s} 🎉",
        story="“It is done,” said {operation} after {run_s}, and rested.",
    ),
    Moment.FAILED: Phrase(
        level=Level.ERROR,
        attributes=(
            names.JOB_OPERATION,
            names.JOB_REASON,
            names.JOB_ATTEMPT,
            names.ERROR_TYPE,
            names.JOB_ERROR,
        ),
        human="{operation} fails on attempt {attempt} ({reason}): {error}",
        cute="{operation} gave it all it had, but: {error} 💔",
        story="“I could not,” said {operation} after try {attempt}. “Write: {reason}. {error}”",
    ),
    Moment.EXPIRED: Phrase(
        level=Level.ERROR,
        attributes=(names.JOB_OPERATION, names.JOB_TIMEOUT_KIND, names.JOB_TIMEOUT_S),
        human="{operation} expires: it never started within its {timeout_kind} time of {timeout_s}",
        cute="{operation} waited {timeout_s} and nobody came to play 🥀",
        story="For {timeout_s} {operation} waited. “Too late,” said the clock; it never began.",
    ),
    Moment.CANCELLED: Phrase(
        level=Level.INFO,
        attributes=(
            names.JOB_OPERATION,
            names.JOB_CANCEL_ORIGIN,
            names.JOB_CANCEL_ABANDONED,
        ),
        human="{operation} is cancelled (by: {cancel_origin})",
        cute="{operation} packs up early and waves goodbye 👋",
        story="“Then let it rest,” said {cancel_origin}, and {operation} ended there.",
    ),
}
"""Every moment, with its level, its attributes and its phrases."""


class _Words(dict[str, str]):
    """What a template may name; a moment that lacks an attribute is still told."""

    def __missing__(self, name: str) -> str:
        return "?"


def phrase(moment: Moment, attributes: Mapping[str, Any]) -> Told:
    """`moment` in its three voices, with its `attributes`; never raises for a missing one."""
    row = PHRASES[moment]
    words = _Words({word_for(name): word(name, attributes[name]) for name in attributes})
    return Told(
        row.human.format_map(words), row.cute.format_map(words), row.story.format_map(words)
    )


@lru_cache(maxsize=256)
def word_for(attribute: str) -> str:
    """The name by which templates call an attribute.

    >>> word_for("job.timeout.kind"), word_for("error.type")
    ('timeout_kind', 'error_type')
    """
    return attribute.removeprefix("job.").replace(".", "_")


_SHORT: Final = ((999.5e-6, 1e-6, "µs"), (999.5e-3, 1e-3, "ms"), (59.95, 1.0, "s"))
"""Below which seconds a duration, in three figures, is told in which unit."""


def duration(seconds: float) -> str:
    """`seconds` as people say it, in three figures at most; a negative one is its absolute.

    >>> duration(0.0123), duration(1.5), duration(150), duration(7322)
    ('12.3 ms', '1.5 s', '2 min 30 s', '2 h 2 min')
    """
    if not math.isfinite(seconds):
        return "for ever"
    seconds = abs(seconds)
    for below, size, unit in _SHORT:
        if seconds < below:
            return f"{seconds / size:.3g} {unit}"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - two days read better in days
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def word(attribute: str, value: Any) -> str:
    """`value` of `attribute` as a phrase has it."""
    if attribute.endswith("_s") and isinstance(value, int | float) and not isinstance(value, bool):
        return duration(value)
    return str(value)
