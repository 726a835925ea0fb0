"""For tests of one's own handlers: run one in virtual time, see result, attempts and narration.

    def test_render_tells_which_scene_it_loads() -> None:
        run = run_operation(render, scene="forest", frames=2)

        assert run.result == {"frames": 2}
        assert "Loading forest" in run.texts

It is the real engine, with its real clock replaced: timeouts and backoff pass at once. Threads and
child processes are real, and are waited for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from app.handlers.operation import Operation
from app.jobs.record import AttemptForm, JobRecord
from app.jobs.submission import Submission
from app.service import Narrator
from app.settings import Settings
from app.virtual_time import VirtualClock, VirtualTimeError, run_virtual
from telemetry.names import StreamEvent

PATIENCE_S: Final = 86_400.0
"""Virtual seconds for which the end of a run is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRun:
    """What became of one run."""

    record: JobRecord
    events: list[dict[str, Any]]
    """The whole story, as a stream tells it: each event's data, with its name under `event`."""

    @property
    def result(self) -> Any:
        """What the handler returned, as JSON data; None unless it completed."""
        return self.record.result

    @property
    def state(self) -> str:
        """`completed`, `failed` or `cancelled`."""
        return self.record.state.value

    @property
    def attempts(self) -> list[AttemptForm]:
        """Every attempt with its outcome and error."""
        return self.record.attempts

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The narration, in order."""
        return [each for each in self.events if each["event"] == StreamEvent.NARRATION]

    @property
    def texts(self) -> list[str]:
        """The text of each message."""
        return [each["text"] for each in self.messages]

    @property
    def output(self) -> list[Any]:
        """The chunks that the handler put out."""
        return [each["chunk"] for each in self.events if each["event"] == StreamEvent.OUTPUT]


def run_operation(
    handler: Callable[..., Any] | Operation,
    submit: Mapping[str, Any] | None = None,
    /,
    **params: Any,
) -> OperationRun:
    """Run `handler`, marked with `@operation`, with `params`, to its end.

    `submit` holds further fields of the submission, such as `{"timeout_s": 5, "tags": {...}}`.
    Settings are the defaults, without metrics: neither the environment nor a file is read. Must be
    called where no event loop runs.

    Raises:
        TargetError: the handler cannot be served.
        InvalidParams, InvalidSubmission: the params or the fields are refused.
        VirtualTimeError: it has not ended within a virtual day.

    """
    return run_virtual(lambda clock: _run(handler, submit or {}, params, clock))


async def _run(
    handler: Callable[..., Any] | Operation,
    submit: Mapping[str, Any],
    params: Mapping[str, Any],
    clock: VirtualClock,
) -> OperationRun:
    narrator = Narrator(
        [handler],
        settings=Settings.model_construct(metrics=False),  # nobody would read them
        tracer_provider=_provider(),
        clock=clock,
    )
    async with narrator.running():
        engine = narrator.engine
        (operation,) = engine.operations()
        submission = Submission.model_validate(
            {**submit, "operation": operation.name, "params": dict(params)}
        )
        job_id = engine.submit(submission).job_id
        engine.attached(job_id)  # a deferred job begins as under its first reader
        record = await narrator.result(job_id, timeout_s=PATIENCE_S)
        if record.finished_at is None:
            raise VirtualTimeError(
                f"operation {operation.name!r} is still {record.state.value} after "
                f"{PATIENCE_S:g} virtual seconds; give it a timeout_s to see it time out"
            )
        entries = engine.log(record.id).entries()
    events = [{"event": each.name, **msgspec.json.decode(each.data)} for each in entries]
    return OperationRun(record=record, events=events)


def _provider() -> TracerProvider:
    """The provider that the process has; else a new one that outlives this run."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return provider
    return TracerProvider(shutdown_on_exit=False)
