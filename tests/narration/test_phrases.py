import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.phrases import PHRASES, duration, phrase, word_for
from telemetry import names
from telemetry.names import Moment

SAMPLES: dict[str, object] = {
    names.JOB_OPERATION: "render",
    names.JOB_PRIORITY: "normal",
    names.JOB_QUEUE_POSITION: 3,
    names.JOB_ATTEMPT: 2,
    names.JOB_MAX_ATTEMPTS: 3,
    names.JOB_WAIT_S: 1.25,
    names.JOB_RUN_S: 0.0123,
    names.JOB_DELAY_S: 2.5,
    names.JOB_TIMEOUT_S: 30.0,
    names.JOB_TIMEOUT_KIND: "attempt",
    names.JOB_NEXT_RETRY_AT: "2026-01-02T03:04:05.000006Z",
    names.JOB_OUTCOME: "error",
    names.JOB_STATE: "running",
    names.JOB_REASON: "rejected",
    names.JOB_CANCEL_ORIGIN: "client",
    names.JOB_CANCEL_ABANDONED: False,
    names.JOB_BLOCKED_S: 1.5,
    names.CODE_FUNCTION_NAME: "shop.render",
    names.CODE_STACKTRACE: "shop.py:3 in render",
    names.ERROR_TYPE: "ValueError",
    names.JOB_ERROR: "ValueError: no such scene",
}

every_moment = pytest.mark.parametrize("moment", list(Moment))


def test_every_moment_has_a_phrase_and_nothing_else_has() -> None:
    assert set(PHRASES) == set(Moment)


@every_moment
def test_a_template_names_only_what_its_moment_carries(moment: Moment) -> None:
    row = PHRASES[moment]
    carried = {word_for(attribute) for attribute in row.attributes}
    used = {
        name
        for template in (row.human, row.cute, row.story)
        for _, name, _, _ in string.Formatter().parse(template)
        if name is not None
    }

    assert used <= carried


@every_moment
def test_a_moment_is_told_in_three_different_voices(moment: Moment) -> None:
    told = phrase(moment, {name: SAMPLES[name] for name in PHRASES[moment].attributes})

    assert len({told.human, told.cute, told.story}) == 3
    assert not {"?", "{", "}"} & set(told.human + told.cute)


@every_moment
def test_the_human_voice_is_short_and_plain(moment: Moment) -> None:
    told = phrase(moment, {name: SAMPLES[name] for name in PHRASES[moment].attributes})

    assert len(told.human) <= 100
    assert told.human.isascii()


@every_moment
def test_the_story_voice_speaks(moment: Moment) -> None:
    assert "“" in PHRASES[moment].story


@every_moment
def test_a_moment_without_its_attributes_is_still_told(moment: Moment) -> None:
    assert phrase(moment, {}).human


def test_values_with_braces_are_told_as_they_are() -> None:
    told = phrase(Moment.COMPLETED, {names.JOB_OPERATION: "{attempt}", names.JOB_ATTEMPT: 1})

    assert told.human.startswith("{attempt} completes on attempt 1")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 µs"),
        (0.00000042, "0.42 µs"),
        (0.012, "12 ms"),
        (0.9999, "1 s"),
        (59.96, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (7322, "2 h 2 min"),
        (172_800, "2 d"),
        (180_000, "2 d 2 h"),
        (-2, "2 s"),
        (float("inf"), "for ever"),
        (float("nan"), "for ever"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@given(st.floats())
def test_any_duration_can_be_said(seconds: float) -> None:
    assert duration(seconds)
