import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.errors import IllegalTransition
from app.jobs.lifecycle import (
    FAILURE_REASONS,
    START,
    TRANSITIONS,
    Trigger,
    check_reason,
    next_state,
)
from telemetry.names import TERMINAL, Reason, State

states = st.sampled_from(State)


@given(states, st.sampled_from(Trigger))
def test_every_state_and_trigger_has_a_next_state_or_an_error_that_names_the_legal_ones(
    state: State, trigger: Trigger
) -> None:
    legal = TRANSITIONS[state]
    if trigger in legal:
        assert legal[trigger] is next_state(state, trigger)
        return
    with pytest.raises(IllegalTransition) as caught:
        next_state(state, trigger)

    assert (caught.value.state, caught.value.trigger) == (state, trigger)
    assert caught.value.legal == tuple(legal)
    assert all(each in str(caught.value) for each in [state, trigger, *legal])


@given(states, st.sampled_from(Reason))
def test_every_state_and_reason_is_legal_or_an_error_that_names_the_legal_ones(
    state: State, reason: Reason
) -> None:
    legal = FAILURE_REASONS.get(state, frozenset())
    if reason in legal:
        check_reason(state, reason)
        return
    with pytest.raises(IllegalTransition) as caught:
        check_reason(state, reason)

    assert set(caught.value.legal) == legal


def test_the_table_has_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_unfinished_state_accepts_a_cancel() -> None:
    assert {state for state in State if Trigger.CANCEL in TRANSITIONS[state]} == (
        set(State) - TERMINAL
    )


def test_a_terminal_state_accepts_nothing() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == TERMINAL


def test_every_state_can_be_reached() -> None:
    reached, fresh = set(), {START}
    while fresh:
        reached |= fresh
        fresh = {after for state in fresh for after in TRANSITIONS[state].values()} - reached

    assert reached == set(State)


def test_every_unfinished_state_leads_to_an_end() -> None:
    ending = set(TERMINAL)
    for _ in State:
        ending |= {state for state in State if ending & set(TRANSITIONS[state].values())}

    assert ending == set(State)


def test_reasons_are_given_for_exactly_the_states_that_can_fail() -> None:
    can_fail = {state for state in State if Trigger.FAIL in TRANSITIONS[state]}

    assert set(FAILURE_REASONS) == can_fail
    assert set().union(*FAILURE_REASONS.values()) == set(Reason)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.QUEUED][Trigger.DUE] = State.RUNNING  # type: ignore[index]  # that is the test
