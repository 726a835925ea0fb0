import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.jobs.submission import (
    MAX_METADATA_BYTES,
    RetryChanges,
    Submission,
    asked_of,
    changed,
)
from telemetry.names import Priority, Start


def submission(**fields: Any) -> Submission:
    return Submission.model_validate({"operation": "op", **fields})


def field_of(error: ValidationError) -> str:
    return str(error.errors()[0]["loc"][0])


def test_all_but_the_operation_may_be_left_out() -> None:
    bare = submission()

    assert (bare.params, bare.tags, bare.metadata) == ({}, {}, {})
    assert (bare.start, bare.priority, bare.cancel_when_unwatched) == (
        Start.ON_SUBMIT,
        None,
        False,
    )


def test_without_an_operation_it_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate({})

    assert field_of(caught.value) == "operation"


@pytest.mark.parametrize("model", [Submission, RetryChanges])
@pytest.mark.parametrize(
    ("where", "field"), [({"prioritty": "low"}, "prioritty"), ({"retry": {"x": 1}}, "retry")]
)
def test_an_unknown_field_is_refused_not_ignored(
    model: type[Submission | RetryChanges], where: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"operation": "op", **where})

    assert field_of(caught.value) == field


ABSURD = [math.nan, math.inf, -math.inf, -1, -0.001, 1e308, 10**400, "5", True, [], {}]
TIMES = ["timeout_s", "queue_timeout_s", "deadline_s", "attach_timeout_s"]


@pytest.mark.parametrize("value", [*ABSURD, 0])
@pytest.mark.parametrize("field", TIMES)
def test_a_limit_of_time_is_a_positive_finite_number_within_reason(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        submission(**{field: value})

    assert field_of(caught.value) == field


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("field", ["base_delay_s", "max_delay_s", "multiplier", "max_attempts"])
def test_a_number_of_the_retry_policy_is_finite_and_within_reason(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        submission(retry={field: value})


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"max_attempts": 1.0}, {"multiplier": 0.5}])
def test_attempts_are_whole_and_at_least_one_and_delays_do_not_shrink(
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        submission(retry=wrong)


def test_a_delay_may_be_nothing() -> None:
    retry = submission(retry={"base_delay_s": 0, "max_delay_s": 0}).retry

    assert retry is not None
    assert (retry.base_delay_s, retry.max_delay_s) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": "urgent"},
        {"priority": 1},
        {"start": "later"},
        {"cancel_when_unwatched": "yes"},
        {"cancel_when_unwatched": 1},
        {"retry": {"jitter": "some"}},
        {"params": []},
        {"params": None},
        {"tags": {"k": 1}},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        submission(**wrong)

    assert field_of(caught.value) == next(iter(wrong))


@pytest.mark.parametrize("name", ["", "a b", "a\n", "../x", "x" * 129, "é", "-x", "a\x00"])
def test_a_hostile_operation_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        submission(operation=name)


@pytest.mark.parametrize("name", ["render", "_x", "a.b-c:d", "9lives"])
def test_an_operation_name_may_have_dots_dashes_and_colons(name: str) -> None:
    assert submission(operation=name).operation == name


@pytest.mark.parametrize(
    "tags",
    [
        {"": "v"},
        {"k" * 65: "v"},
        {"k": "v" * 257},
        {"a:b": "v"},
        {"a\nb": "v"},
        {"k": "v\x00"},
        {"\x7f": "v"},
        {"k": "\ud800"},
        {f"k{n}": "v" for n in range(33)},
    ],
)
def test_tags_out_of_bounds_are_refused(tags: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        submission(tags=tags)

    assert field_of(caught.value) == "tags"


@given(
    st.dictionaries(
        st.text(
            st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), min_size=1
        ).filter(lambda key: len(key) <= 64),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=256),
        max_size=32,
    )
)
def test_any_other_tags_are_accepted(tags: dict[str, str]) -> None:
    assert submission(tags=tags).tags == tags


@pytest.mark.parametrize("key", ["", "k" * 257, "a\nb", "\x00"])
def test_a_concurrency_key_out_of_bounds_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        submission(concurrency_key=key)


def test_metadata_has_a_limit_in_encoded_bytes() -> None:
    room = MAX_METADATA_BYTES - len(b'{"k":""}')
    assert submission(metadata={"k": "é" * (room // 2)}).metadata

    with pytest.raises(ValidationError, match="at most 16384 bytes of JSON; it has"):
        submission(metadata={"k": "é" * (room // 2) + "xx"})


@pytest.mark.parametrize("field", ["params", "metadata"])
@pytest.mark.parametrize("value", [math.nan, "\ud800", object()])
def test_params_and_metadata_must_be_json(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match="must be JSON") as caught:
        submission(**{field: {"x": value}})

    assert field_of(caught.value) == field


def test_what_was_asked_leaves_out_what_was_not_said() -> None:
    assert asked_of(submission(params={"n": 1}, tags={"a": "b"})) == {}
    assert asked_of(submission(priority="high", retry={"max_attempts": 2})) == {
        "priority": "high",
        "retry": {"max_attempts": 2},
    }


def test_a_retry_without_changes_asks_for_the_same() -> None:
    before = submission(params={"n": 1}, timeout_s=3, tags={"a": "b"})

    assert changed(before, None) == before
    assert changed(before, RetryChanges()) == before


def test_a_retry_merges_params_by_key_and_replaces_other_fields() -> None:
    before = submission(
        params={"n": 1, "m": 2}, tags={"a": "b"}, timeout_s=3, retry={"max_attempts": 2}
    )
    changes = RetryChanges.model_validate(
        {
            "params": {"n": 5},
            "tags": {"c": "d"},
            "timeout_s": None,
            "priority": "low",
            "retry": {"base_delay_s": 1},
        }
    )

    after = changed(before, changes)

    assert after.operation == "op"
    assert after.params == {"n": 5, "m": 2}
    assert after.tags == {"c": "d"}
    assert (after.timeout_s, after.priority) == (None, Priority.LOW)
    assert after.retry is not None
    assert (after.retry.max_attempts, after.retry.base_delay_s) == (None, 1)


@pytest.mark.parametrize(("given_name", "expected"), [("other", "other"), (None, "op")])
def test_a_retry_may_name_another_operation(given_name: str | None, expected: str) -> None:
    assert changed(submission(), RetryChanges(operation=given_name)).operation == expected


@pytest.mark.parametrize("model", [Submission, RetryChanges])
def test_every_field_is_described_in_the_schema(model: type[Submission | RetryChanges]) -> None:
    properties = model.model_json_schema()["properties"]

    assert [name for name, field in properties.items() if not field.get("description")] == []
