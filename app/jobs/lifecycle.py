"""The lifecycle of a job as data: which trigger leads from which state to which.

Whatever decides about a transition is in this file; `app.jobs.job` alone applies it. It knows no
job, no clock and no policy: only states, triggers and reasons.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.jobs.errors import IllegalTransition
from telemetry.names import Reason, State


class Trigger(StrEnum):
    """What can happen to a job."""

    START = "start"  # an attempt begins
    SUCCEED = "succeed"  # the attempt gave a result
    FAIL = "fail"  # no attempt is left, or a limit ran out
    RETRY = "retry"  # another attempt has a time
    DUE = "due"  # that time has come
    CANCEL = "cancel"  # somebody asked for a cancellation
    STOP = "stop"  # the cancelled work has really stopped, or was abandoned


TRANSITIONS: Final[Mapping[State, Mapping[Trigger, State]]] = MappingProxyType(
    {
        State.QUEUED: MappingProxyType(
            {
                Trigger.START: State.RUNNING,
                Trigger.CANCEL: State.CANCELLED,
                Trigger.FAIL: State.FAILED,
            }
        ),
        State.RUNNING: MappingProxyType(
            {
                Trigger.SUCCEED: State.COMPLETED,
                Trigger.FAIL: State.FAILED,
                Trigger.RETRY: State.RETRYING,
                Trigger.CANCEL: State.CANCELLING,
            }
        ),
        State.RETRYING: MappingProxyType(
            {
                Trigger.DUE: State.QUEUED,
                Trigger.CANCEL: State.CANCELLED,
                Trigger.FAIL: State.FAILED,
            }
        ),
        State.CANCELLING: MappingProxyType(
            {
                # Asking again is no error, and changes nothing: the first asker stays on record.
                Trigger.CANCEL: State.CANCELLING,
                Trigger.STOP: State.CANCELLED,
            }
        ),
        State.COMPLETED: MappingProxyType({}),
        State.FAILED: MappingProxyType({}),
        State.CANCELLED: MappingProxyType({}),
    }
)
"""State → trigger → next state. What is not here is illegal."""

FAILURE_REASONS: Final[Mapping[State, frozenset[Reason]]] = MappingProxyType(
    {
        # Never started: expired. Waiting for a further attempt: the deadline is a timeout.
        State.QUEUED: frozenset({Reason.EXPIRED, Reason.TIMEOUT}),
        State.RUNNING: frozenset({Reason.ERROR, Reason.TIMEOUT, Reason.REJECTED, Reason.LOST}),
        State.RETRYING: frozenset({Reason.TIMEOUT}),
    }
)
"""State → the reasons with which a job may fail from there."""

START: Final = State.QUEUED
"""The state of a new job."""


def next_state(state: State, trigger: Trigger) -> State:
    """Where `trigger` leads from `state`.

    Raises:
        IllegalTransition: nowhere; it names what would have been legal.

    """
    legal = TRANSITIONS[state]
    if trigger not in legal:
        raise IllegalTransition(state, trigger, legal)
    return legal[trigger]


def check_reason(state: State, reason: Reason) -> None:
    """Refuse a failure that cannot happen in `state`.

    Raises:
        IllegalTransition: it names the reasons that are legal.

    """
    legal = FAILURE_REASONS.get(state, frozenset())
    if reason not in legal:
        raise IllegalTransition(state, f"{Trigger.FAIL} ({reason})", sorted(legal))
