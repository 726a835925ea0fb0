"""Compares two runs of the SDK's own tests, bare and tapped; knows nothing of how they are run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NEEDED = ("tapped spans", "fast events", "messages")
"""What a tapped run must have counted at least once, or it has proved nothing."""

UNWANTED = ("messages dropped", "providers not tapped")
"""What it must not have counted: a canary that found a fault, for one, has the spans polled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The ids of the tests that ran and of those that failed, and what the tap counted."""

    ran: frozenset[str]
    failed: frozenset[str]
    counts: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `tapped` wrote."""
        noted = json.loads(path.read_text())
        return cls(
            ran=frozenset(noted["ran"]), failed=frozenset(noted["failed"]), counts=noted["counts"]
        )


def problems(bare: Run, tapped: Run, explained: Mapping[str, str]) -> list[str]:
    """All that is wrong, a sentence each: none if the tap changes nothing but what is explained."""
    differ = tapped.failed - bare.failed
    found = [f"no {name} were counted" for name in NEEDED if not tapped.counts.get(name)]
    found += [f"{count} {name}" for name in UNWANTED if (count := tapped.counts.get(name))]
    if not bare.ran:
        found.append("no test ran")
    found += [f"ran in one run only: {test}" for test in sorted(bare.ran ^ tapped.ran)]
    found += [f"fails only tapped: {test}" for test in sorted(differ - explained.keys())]
    found += [f"explained, but no difference: {test}" for test in sorted(explained.keys() - differ)]
    return found


def summary(bare: Run, tapped: Run) -> str:
    """Both runs in one line."""
    both = len(bare.failed & tapped.failed)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(tapped.counts.items()))
    return (
        f"{len(bare.ran)} tests bare, {len(bare.failed)} fail; {len(tapped.ran)} tapped, "
        f"{len(tapped.failed)} fail, {both} of them bare too ({counts})"
    )
