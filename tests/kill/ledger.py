"""What has really run, by the ledger that the operations write; compared with the records."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.kill.told import Record


class Span(NamedTuple):
    """One process's work at one attempt: its first and last sign of life, monotonic nanoseconds."""

    job_id: str
    attempt: int
    pid: int
    first: int
    last: int
    begun: int
    """How often it was begun."""


def read(ledger: Path) -> list[Span]:
    """All that is in the ledger, in the order of the beginnings."""
    signs: defaultdict[tuple[str, int, int], list[int]] = defaultdict(list)
    begun: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    for line in ledger.read_text().splitlines():
        job_id, attempt, pid, what, at = line.split()
        key = job_id, int(attempt), int(pid)
        signs[key].append(int(at))
        begun[key] += what == "begin"
    spans = [Span(*key, min(at), max(at), begun[key]) for key, at in signs.items()]
    return sorted(spans, key=lambda span: span.first)


def problems(spans: list[Span], records: dict[str, Record], forgotten: set[str]) -> Iterator[str]:
    """Each attempt has run once, is on record, and overlaps with no other of its job or key."""
    of_job: defaultdict[str, list[Span]] = defaultdict(list)
    of_key: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        of_job[span.job_id].append(span)
        record = records.get(span.job_id)
        if record is None:
            if span.job_id not in forgotten:
                yield f"{span.job_id}: has run, and nobody knows of it"
            continue
        if span.attempt not in [each["number"] for each in record["attempts"]]:
            yield f"{span.job_id}: attempt {span.attempt} has run, and is not on record"
        if span.begun != 1:
            yield f"{span.job_id}: attempt {span.attempt} was begun {span.begun} times"
        if record["operation"] == "keyed":
            of_key[record["tags"]["key"]].append(span)
    for job_id, its in of_job.items():
        if len({span.attempt for span in its}) != len(its):
            yield f"{job_id}: an attempt has run twice: {its}"
        yield from _overlaps(f"{job_id}: attempts overlap", its)
    for its in of_key.values():
        yield from _overlaps("two jobs of one key run at once", its)


def _overlaps(words: str, spans: list[Span]) -> Iterator[str]:
    for span, following in pairwise(sorted(spans, key=lambda each: each.first)):
        if following.first <= span.last:
            yield f"{words}: {span} and {following}"
