"""The comparer of `make test-sdk`; the SDK's tests themselves are not run here."""

from collections.abc import Set as AbstractSet

import pytest

from tests.sdk.compare import NEEDED, UNWANTED, Run, problems, summary

COUNTS = dict.fromkeys(NEEDED, 1)


def run_of(
    *failed: str, ran: AbstractSet[str] = frozenset("abc"), counts: dict[str, int] = COUNTS
) -> Run:
    return Run(ran=frozenset(ran), failed=frozenset(failed), counts=counts)


def test_a_test_that_fails_in_both_runs_is_no_problem() -> None:
    assert problems(run_of("a"), run_of("a"), {}) == []


def test_a_test_that_fails_only_tapped_is_a_problem_unless_it_is_explained() -> None:
    bare, tapped = run_of(), run_of("b")

    assert problems(bare, tapped, {}) == ["fails only tapped: b"]
    assert problems(bare, tapped, {"b": "why"}) == []


@pytest.mark.parametrize(("bare", "tapped"), [("", ""), ("b", "b"), ("b", "")])
def test_an_explanation_that_explains_nothing_is_a_problem(bare: str, tapped: str) -> None:
    found = problems(run_of(*bare), run_of(*tapped), {"b": "why"})

    assert found == ["explained, but no difference: b"]


def test_a_test_that_runs_only_once_is_a_problem() -> None:
    assert problems(run_of(), run_of(ran={"a", "b"}), {}) == ["ran in one run only: c"]


def test_no_tests_at_all_are_a_problem() -> None:
    assert problems(run_of(ran=set()), run_of(ran=set()), {}) == ["no test ran"]


@pytest.mark.parametrize("name", NEEDED)
def test_a_run_in_which_nothing_was_tapped_is_a_problem(name: str) -> None:
    tapped = run_of(counts=COUNTS | {name: 0})

    assert problems(run_of(), tapped, {}) == [f"no {name} were counted"]


@pytest.mark.parametrize("name", UNWANTED)
def test_a_tap_that_failed_is_a_problem(name: str) -> None:
    assert problems(run_of(), run_of(counts=COUNTS | {name: 2}), {}) == [f"2 {name}"]


def test_the_summary_tells_both_runs() -> None:
    line = summary(run_of("a"), run_of("a", "b", counts={"tapped spans": 7}))

    assert line == "3 tests bare, 1 fail; 3 tapped, 2 fail, 1 of them bare too (7 tapped spans)"
