"""A pytest plugin for the SDK's own tests: notes what fails, and taps every span with `--tap`.

Tapped, each `TracerProvider` has the narration installed, and its spans are in a story whatever
their context; a span that is made without a provider is tapped as it is made. What those tests run
in another process is not tapped. `tests` is the SDK's own package there: this is loaded by
`-p tapped`, with this folder on the path. It does not know what is expected: see `compare`.
"""

import importlib
import json
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import SpanContext

from narration import fast_spans, tap
from narration.fast_events import clean_event
from narration.log import NarrationLog
from narration.masking import masker
from narration.processor import NarrationSpanProcessor, install
from narration.scope import Scope, current_scope
from narration.spans import SpanLog
from narration.story import Counters, NoCounters, Story
from narration.tap import Tap
from telemetry.clock import SystemClock
from telemetry.names import DropReason


class Outcomes:
    """Which tests ran and failed, and what the tap did meanwhile; written to `path` at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ran: set[str] = set()
        self.failed: set[str] = set()
        self.counts: Counter[str] = Counter()

    def narrated(self, source: str, level: str) -> None:
        self.counts["messages"] += 1

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        self.counts["messages dropped"] += count

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran.add(report.nodeid)
        if report.failed:  # a failing subtest, too, which has the id of its test
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        noted = {"ran": sorted(self.ran), "failed": sorted(self.failed), "counts": self.counts}
        self.path.write_text(json.dumps(noted))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True, help="where to write what fails")
    parser.addoption("--tap", action="store_true", help="tap every span")


def pytest_configure(config: pytest.Config) -> None:
    outcomes = Outcomes(config.getoption("--outcomes"))
    config.pluginmanager.register(outcomes)
    if config.getoption("--tap"):  # before any test is imported
        story = scope_of(outcomes)
        # Spans without a provider have mocks for contexts, and no message has a place for a mock.
        lone = scope_of(NoCounters())
        _count(outcomes.counts, {id(story), id(lone)})
        _tap_providers(outcomes.counts, story)
        _tap_lone_spans(lone)
        _keep_the_sdk()


def scope_of(counters: Counters) -> Scope:
    """A scope in a new story, whose messages take the fast road where they can."""
    story = Story(
        "sdk",
        log=NarrationLog("sdk", epoch="sdk", limit=1_000, schedule=lambda _: None),
        spans=SpanLog(1_000),
        clock=SystemClock(),
        counters=counters,
        mask=masker(),
        max_message_bytes=65_536,
        consumer=None,
    )
    return Scope(story=story, actor="sdk")


def _count(counts: Counter[str], ours: set[int]) -> None:
    attach = Tap.attach

    def counting_attach(self: Tap, span: Span, scope: Scope, voice: Any) -> None:
        counts["fast spans"] += isinstance(span, tap._Tapped) and id(scope) in ours
        attach(self, span, scope, voice)
        counts["tapped spans"] += id(scope) in ours  # those of the canary are not

    def counting_make(*given: Any) -> Any:
        event = clean_event(*given)
        counts["slow events" if event is None else "fast events"] += 1
        return event

    Tap.attach = counting_attach  # type: ignore[method-assign] # for all of the run, as all here
    vars(tap)["clean_event"] = counting_make


def _tap_providers(counts: Counter[str], scope: Scope) -> None:
    make, route = TracerProvider.__init__, NarrationSpanProcessor._scope_of_parent
    here = threading.local()

    def make_tapped(self: TracerProvider, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        if not hasattr(here, "installing"):  # the canary makes providers, too
            here.installing = True
            try:
                tapping = install(self)
                counts["providers not tapped"] += not (tapping.live and tapping.fast)
            finally:
                del here.installing

    def everywhere(self: NarrationSpanProcessor, parent: SpanContext | None) -> Scope | None:
        return route(self, parent) or scope  # asked where the context tells of no story

    def made_everywhere(context: Context | None = None) -> Scope | None:
        return current_scope(context) or (None if hasattr(here, "installing") else scope)

    TracerProvider.__init__ = make_tapped  # type: ignore[method-assign]
    NarrationSpanProcessor._scope_of_parent = everywhere  # type: ignore[method-assign]
    vars(fast_spans)["current_scope"] = made_everywhere


def _tap_lone_spans(scope: Scope) -> None:
    make, lone = Span.__init__, Tap(fast=True, on_end_raised=lambda _: None)

    def make_tapped(self: Span, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        if "span_processor" not in named:
            lone.attach(self, scope, None)

    Span.__init__ = make_tapped  # type: ignore[method-assign]


def _keep_the_sdk() -> None:
    # Some tests reload the SDK's module, which now reads nothing as it is imported. New classes in
    # it would leave all the tests that follow without a tap.
    reload = importlib.reload

    def reload_others(module: ModuleType) -> ModuleType:
        return module if module is sdk_trace else reload(module)

    importlib.reload = reload_others
