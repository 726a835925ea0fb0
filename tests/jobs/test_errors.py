from collections.abc import Iterator

import pytest

from app.jobs import errors
from app.jobs.errors import NarratorError, field_error
from telemetry.names import State

EXAMPLES: list[tuple[NarratorError, list[str]]] = [
    (
        errors.InvalidSubmission([field_error("is too long", "retry", "max_attempts")]),
        ["retry.max_attempts: is too long"],
    ),
    (
        errors.InvalidParams([field_error("n: is required", "n")], operation="render"),
        ["'render'", "not valid: n: is required"],
    ),
    (errors.InvalidParams([field_error("not an object")]), ["params are not valid: not an object"]),
    (errors.InvalidFilter("limit", 0, "1 to 9"), ["limit 0", "1 to 9"]),
    (errors.InvalidFilter("state", "x", ["queued", "running"]), ["one of queued, running"]),
    (errors.InvalidCursor("zzz"), ["'zzz'", "none for the first page"]),
    (errors.IdempotencyConflict("key", "j1"), ["'key'", "j1", "another key"]),
    (errors.JobNotFound("j1"), ["'j1'", "forgotten"]),
    (errors.OperationNotFound("x", ["b", "a"]), ["'x'", "a, b"]),
    (errors.OperationNotFound("x", []), ["none"]),
    (errors.IllegalTransition(State.QUEUED, "due", ["start"]), ["queued", "'due'", "start"]),
    (errors.IllegalTransition(State.FAILED, "due", []), ["failed", "nothing, it has ended"]),
    (errors.AlreadyFinished("j1", State.FAILED), ["j1 is already failed", "retrying"]),
    (errors.NotFinished("j1", State.RUNNING), ["j1 is still running", "cancel it first"]),
    (errors.QueueFull(10, retry_after_s=2), ["10 jobs", "in 2 s"]),
    (errors.TenantRate(2.5, retry_after_s=0.25), ["2.5 jobs a second", "_RATE", "in 0.25 s"]),
    (errors.TenantQueueFull(10, retry_after_s=2), ["10 of your jobs", "TENANT_QUEUED", "in 2 s"]),
    (errors.TenantStreams(3, retry_after_s=5), ["3 of your streams", "_STREAMS", "in 5 s"]),
    (errors.Draining(retry_after_s=2.5), ["shutting down", "in 2.5 s"]),
    (errors.StoreUnavailable("disk full", retry_after_s=1), ["disk full", "Idempotency-Key"]),
]


def tree(root: type[NarratorError]) -> Iterator[type[NarratorError]]:
    yield root
    for branch in root.__subclasses__():
        yield from tree(branch)


@pytest.mark.parametrize(
    ("error", "words"), EXAMPLES, ids=[type(each).__name__ for each, _ in EXAMPLES]
)
def test_the_message_says_what_happened_to_what_and_what_is_legal(
    error: NarratorError, words: list[str]
) -> None:
    assert [word for word in words if word not in str(error)] == []


def test_the_examples_are_all_the_errors_there_are() -> None:
    mine = {each for each in tree(NarratorError) if each.__module__ == errors.__name__}
    leaves = {each for each in mine if not mine & set(each.__subclasses__())}

    assert {type(error) for error, _ in EXAMPLES} == leaves


def test_each_class_has_a_code_of_its_own_and_one_sentence() -> None:
    mine = [each for each in tree(NarratorError) if each.__module__ == errors.__name__]
    codes = [each.code for each in mine]

    assert sorted(set(codes)) == sorted(codes)
    assert all("\n" not in (each.__doc__ or "\n") for each in mine)


def test_foreign_text_cannot_flood_a_message_or_break_its_line() -> None:
    message = str(errors.JobNotFound("evil\n" * 10_000))

    assert "\n" not in message
    assert len(message) < 300


def test_what_went_wrong_is_there_as_data() -> None:
    full = errors.QueueFull(10, retry_after_s=2)
    unknown = errors.OperationNotFound("x", ["b", "a"])

    assert (full.limit, full.retry_after_s) == (10, 2)
    assert (unknown.operation, unknown.legal) == ("x", ("a", "b"))
    assert errors.InvalidSubmission([field_error("m", "f", 0)]).errors == (
        {"loc": ["f", 0], "message": "m"},
    )
