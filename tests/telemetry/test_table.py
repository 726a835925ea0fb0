import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum

from telemetry import names, table
from telemetry.table import (
    ATTRIBUTES,
    EVENTS,
    LOG_EVENT_ATTRIBUTES,
    METRICS,
    NARRATION_ATTRIBUTES,
    SPANS,
    Emitted,
    MetricType,
    differences,
    span_row_name,
)

NOTHING: dict[str, frozenset[str]] = {}


def attribute_constants() -> Iterator[str]:
    """The attribute names of `telemetry.names`: its constants with a dot in them."""
    spans = {names.SPAN_JOB, names.SPAN_WAIT, names.SPAN_ATTEMPT, names.SPAN_BACKOFF}
    others = spans | {names.LOG_EVENT}
    for constant, value in vars(names).items():
        if constant.isupper() and isinstance(value, str) and "." in value and value not in others:
            yield value


def test_every_attribute_name_has_a_row() -> None:
    assert set(attribute_constants()) <= {row.name for row in ATTRIBUTES}


def test_every_moment_and_every_metric_name_has_a_row() -> None:
    assert {row.name for row in EVENTS} >= set(names.Moment)
    assert {row.name for row in METRICS} == set(names.MetricName)


def test_every_attribute_of_a_span_or_an_event_has_a_row_of_its_own() -> None:
    used = {name for span in SPANS for name in span.attributes}
    used |= {name for event in EVENTS for name in event.attributes}

    used |= {*NARRATION_ATTRIBUTES, *LOG_EVENT_ATTRIBUTES}

    assert used <= {row.name for row in ATTRIBUTES}


def test_no_name_has_two_rows() -> None:
    for rows in (SPANS, EVENTS, ATTRIBUTES, METRICS):
        found = [str(row.name) for row in rows]

        assert len(found) == len(set(found))


def test_metrics_have_the_suffix_of_their_type_and_unit() -> None:
    for row in METRICS:
        assert row.name.startswith("narrator_")
        assert row.name.endswith("_total") == (row.type is MetricType.COUNTER)
        if row.unit in {"seconds", "bytes"}:
            assert row.unit in row.name.removesuffix("_total").split("_")
        assert (row.type is MetricType.HISTOGRAM) == bool(row.buckets)


def test_a_run_that_emits_what_is_published_differs_nowhere() -> None:
    emitted = Emitted(
        spans={"job": frozenset({names.JOB_ID, "job.tag.team"})},
        events={names.Moment.COMPLETED: frozenset({names.JOB_ATTEMPT})},
        metrics={names.MetricName.DEFERRED: frozenset()},
    )

    assert differences(emitted) == []


def test_what_is_not_published_is_told() -> None:
    emitted = Emitted(
        spans={"job": frozenset({"job.secret"}), "other": frozenset()},
        events=NOTHING,
        metrics={"narrator_jobs_deferred": frozenset({"job_id"})},
    )

    assert differences(emitted) == [
        "span job has job.secret, which is not published",
        "span other is not published",
        "metric narrator_jobs_deferred has job_id, which is not published",
    ]


def test_a_complete_run_must_emit_all_that_is_published() -> None:
    seen = {row.name: frozenset(row.attributes) for row in SPANS}
    events = {str(row.name): frozenset(row.attributes) for row in EVENTS}
    metrics = {str(row.name): frozenset(str(label) for label in row.labels) for row in METRICS}
    complete = Emitted(
        spans={**seen, "job": seen["job"] - {names.JOB_TAG_PREFIX} | {"job.tag.a"}},
        events=events,
        metrics=metrics,
    )
    del events["job.expired"]
    partial = Emitted(
        spans={**complete.spans, "job.backoff": frozenset()}, events=events, metrics=metrics
    )

    assert differences(partial, complete=True) == [
        "span job.backoff never had job.id",
        "span job.backoff never had job.attempt",
        "event job.expired is published and was not emitted",
    ]


def test_a_jobs_span_is_published_under_its_first_word() -> None:
    assert span_row_name("job render") == "job"
    assert span_row_name("job.wait") == "job.wait"


def test_labels_are_bounded_words() -> None:
    assert {label for row in METRICS for label in row.labels} <= set(names.Label)
    assert issubclass(names.Label, StrEnum)


def test_the_table_prints_itself_as_markdown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "telemetry.table"], capture_output=True, text=True, check=True
    )

    assert done.stdout == table.markdown()
    assert "| `narrator_jobs_submitted_total` | counter | jobs |" in done.stdout
    assert all(f"`{row.name}`" in done.stdout for row in SPANS)
    assert all(f"`{row.name}`" in done.stdout for row in EVENTS)
    assert all(f"`{row.name}`" in done.stdout for row in METRICS)
