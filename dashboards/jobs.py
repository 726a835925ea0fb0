"""The dashboard *Jobs*: do jobs get through, how fast, and what stops them."""

from typing import Final

from dashboards.links import (
    to_jobs,
    to_jobs_of_series,
    to_traces,
    to_traces_of_series,
)
from dashboards.panels import NUMBER, PER_SECOND, SECONDS, SHARE, Board, Panel, Row
from dashboards.queries import Query, each, quantiles, rate, series, total
from telemetry.names import Label, MetricName, State

_OF_SERIES: Final = (to_jobs_of_series(), to_traces_of_series())

_DEPTH: Final = Panel(
    id=1,
    title="Waiting jobs",
    unit=NUMBER,
    queries=each(total(MetricName.QUEUE_DEPTH, Label.PRIORITY), Label.PRIORITY),
    stacked=True,
    meaning="Jobs that wait for a slot, by priority.",
    bad="it grows for minutes: more comes in than gets done, and at the queue's limit "
    "submissions are refused (429).",
    then="look at *Slots in use* and *Time of an attempt*: all slots busy means raise "
    "NARRATOR_CONCURRENCY or make handlers faster; free slots mean that the limits of operations "
    "or concurrency keys hold jobs back.",
    links=(to_jobs("state=queued"),),
)

_OLDEST: Final = Panel(
    id=2,
    title="Age of the oldest waiting job",
    unit=SECONDS,
    queries=each(
        f"max by ({Label.PRIORITY}) ({series(MetricName.QUEUE_OLDEST_AGE)})", Label.PRIORITY
    ),
    limit=300,
    alert="NarratorQueueStuck",
    meaning="How long the job that waits longest has waited, by priority; 0 if none waits.",
    bad="a line that rises as fast as time passes: nothing of that priority starts.",
    then="follow the runbook of the alert; a priority that starves while others run means that "
    "urgent jobs take every slot.",
    links=(to_jobs("state=queued"),),
)

_SATURATION: Final = Panel(
    id=3,
    title="Slots in use",
    unit=SHARE,
    queries=each(
        f"{total(MetricName.RUNNING, Label.OPERATION)} / scalar({total(MetricName.WORKER_SLOTS)})",
        Label.OPERATION,
    ),
    stacked=True,
    limit=1,
    meaning="The share of all slots that running jobs hold, by operation.",
    bad="it stays at 100 %: the server is full, and what comes now waits.",
    then="see which operation holds the slots; give it a limit of its own, raise "
    "NARRATOR_CONCURRENCY, or start another server.",
    links=(to_jobs("state=running"),),
    series_links=_OF_SERIES,
)

_HELD: Final = Panel(
    id=4,
    title="Jobs that run, or wait for something else",
    unit=NUMBER,
    queries=(
        Query(expr=total(MetricName.RUNNING), legend="running"),
        Query(expr=total(MetricName.RETRYING), legend="wait for their retry"),
        Query(expr=total(MetricName.DEFERRED), legend="wait for their first stream"),
    ),
    meaning="Running jobs, and those that no free slot would start: retrying and deferred ones. "
    "Deferred ones are of all operations.",
    bad="retrying jobs pile up: what they need is broken. Deferred ones pile up: clients submit "
    "with `start=on_stream` and never read.",
    then="for retries see *Retries*; for deferred jobs give them an `attach_timeout_s`.",
    links=(to_jobs("state=retrying"),),
)

_WAIT: Final = Panel(
    id=5,
    title="Time in the queue",
    unit=SECONDS,
    queries=quantiles(MetricName.WAIT, exemplars=True),
    meaning="From queueing to the start of an attempt. Each dot is one attempt; it leads to its "
    "trace.",
    bad="p99 far above the median: some jobs are held back while others pass. All three high: "
    "the server is full.",
    then="click a dot high up and look at the job's `job.wait`; then see *Slots in use*.",
    links=(to_traces(),),
)

_RUN: Final = Panel(
    id=6,
    title="Time of an attempt",
    unit=SECONDS,
    queries=quantiles(MetricName.RUN, exemplars=True),
    meaning="From the start of an attempt to its end, failed ones among them. Each dot is one "
    "attempt; it leads to its trace.",
    bad="it rises at the same load: the handler, or what it calls, has become slow.",
    then="click a dot high up; the longest span under `job.attempt` says what took the time, and "
    "its events what the job said meanwhile.",
    links=(to_traces(),),
)

_FLOW: Final = Panel(
    id=7,
    title="Jobs in and out",
    unit=PER_SECOND,
    queries=(
        Query(expr=rate(MetricName.SUBMITTED), legend="submitted"),
        Query(expr=rate(MetricName.WAIT), legend="attempts started"),
        Query(expr=rate(MetricName.FINISHED), legend="finished"),
    ),
    meaning="Jobs a second that were accepted, attempts that started, and jobs that ended.",
    bad="submitted stays above finished: the queue grows. Attempts far above finished: work is "
    "done again and again.",
    then="see *Waiting jobs* for the first, *Retries* for the second.",
    links=(to_jobs(),),
)

_OUTCOMES: Final = Panel(
    id=8,
    title="Jobs by how they ended",
    unit=PER_SECOND,
    queries=each(
        rate(MetricName.FINISHED, Label.OUTCOME, Label.REASON), Label.OUTCOME, Label.REASON
    ),
    stacked=True,
    meaning="Finished jobs a second by terminal state, failed ones with their reason.",
    bad="`failed error`: handlers raise. `failed lost`: child processes die. `failed timeout` and "
    "`expired`: limits are too short or the server is too full. `rejected` is the handler's own "
    "word for bad input.",
    then="open the failed jobs; each says its error, and its narration what came before.",
    links=(to_jobs("state=failed"), to_traces("job.state=failed")),
)

_FAILED: Final = rate(
    MetricName.FINISHED, Label.OPERATION, where=f'{Label.OUTCOME}="{State.FAILED}"'
)

_FAILURES: Final = Panel(
    id=9,
    title="Share of jobs that fail",
    unit=SHARE,
    queries=each(
        f"{_FAILED} / ({rate(MetricName.FINISHED, Label.OPERATION)} > 0)",
        Label.OPERATION,
    ),
    meaning="Failed jobs among those that finished, by operation; nothing where none finished.",
    bad="one operation jumps while others stay: its handler or what it depends on is broken. All "
    "jump together: look for what they share.",
    then="click the operation to see its jobs or its traces.",
    links=(to_jobs("state=failed"),),
    series_links=(to_jobs_of_series("state=failed"), to_traces_of_series()),
)

_ATTEMPTS: Final = Panel(
    id=10,
    title="Attempts by how they ended",
    unit=PER_SECOND,
    queries=each(rate(MetricName.ATTEMPTS, Label.OUTCOME), Label.OUTCOME),
    stacked=True,
    meaning="Attempts a second; a job that is retried has several.",
    bad="failed attempts while jobs still complete: retries hide a fault and cost the time of "
    "every repeated attempt.",
    then="open traces of failed attempts: `job.attempt` has the exception.",
    links=(to_traces("job.outcome=error"),),
)

_RETRIES: Final = Panel(
    id=11,
    title="Retries",
    unit=PER_SECOND,
    queries=each(rate(MetricName.RETRIES, Label.REASON), Label.REASON),
    stacked=True,
    alert="NarratorRetryStorm",
    meaning="Retries a second, counted when they are scheduled, by how the attempt before ended.",
    bad="it comes near the rate of attempts: most work is done in vain, and adds load to what is "
    "already broken.",
    then="see what the attempts fail on; a longer `base_delay_s` or fewer `max_attempts` take the "
    "load off. `retry_later` is the handler's own wish.",
    links=(to_jobs("state=retrying"), to_traces("job.outcome=error")),
)

_TIMEOUTS: Final = Panel(
    id=12,
    title="Timeouts",
    unit=PER_SECOND,
    queries=each(rate(MetricName.TIMEOUTS, Label.KIND), Label.KIND),
    stacked=True,
    alert="NarratorTimeoutsSpike",
    meaning="Limits that ran out, a second: of an attempt, in the queue, before the first reader "
    "attached, or the job's deadline.",
    bad="`attempt`: handlers hang or have become slow. `queue`: the server is full. `attach`: "
    "clients do not come back to read. `deadline`: all of it together takes too long.",
    then="for `attempt` open a trace and look where it stood; for `queue` see *Slots in use*.",
    links=(to_jobs("state=failed"), to_traces("job.outcome=timeout")),
)

_REFUSED: Final = Panel(
    id=13,
    title="Refused submissions",
    unit=PER_SECOND,
    queries=each(rate(MetricName.REFUSED, Label.REASON), Label.REASON),
    stacked=True,
    meaning="Submissions a second that were not accepted, of all operations.",
    bad="`queue-full`: the server is over its limit and clients are turned away. `invalid-params` "
    "or `operation-not-found`: a client and this server do not fit together.",
    then="for `queue-full` see *Waiting jobs*; for the others look at what changed in clients.",
    links=(to_jobs(),),
)

_CANCELLATIONS: Final = Panel(
    id=14,
    title="Cancellations",
    unit=PER_SECOND,
    queries=each(rate(MetricName.CANCELLATIONS, Label.ORIGIN), Label.ORIGIN),
    stacked=True,
    meaning="Cancelled jobs a second by who asked: a client, nobody watching any more, or the "
    "server's own shutdown.",
    bad="many by clients: work is not wanted by the time it is done. Many `unwatched`: readers "
    "lose their connection.",
    then="see *Time in the queue* for the first, and Narration's *Open streams* for the second.",
    links=(to_jobs("state=cancelled"), to_traces("job.state=cancelled")),
)

_STOPPING: Final = Panel(
    id=15,
    title="Time to stop",
    unit=SECONDS,
    queries=quantiles(MetricName.CANCELLATION_TIME),
    meaning="From the request to cancel a running job to the stop of its handler.",
    bad="it nears NARRATOR_CANCEL_GRACE_S: handlers do not look whether they should stop, and "
    "are about to be abandoned.",
    then="find the operation by choosing one after the other; let its handler check "
    '`job.cancelled` in its loop, or run it with `isolation="process"`.',
    links=(to_jobs("state=cancelling"), to_traces("job.state=cancelled")),
)

_ABANDONED: Final = Panel(
    id=16,
    title="Abandoned handlers",
    unit=PER_SECOND,
    queries=each(rate(MetricName.ABANDONED, Label.OPERATION), Label.OPERATION),
    alert="NarratorCancellationsDoNotStop",
    meaning="Handlers a second that would not stop within the grace, by operation. Their slot was "
    "given away; their thread still runs.",
    bad="anything but 0: each keeps a thread and its memory until it ends by itself.",
    then='let the handler stop when asked, or run it with `isolation="process"`, where it is '
    "killed. A restart frees what is left.",
    links=(to_traces("job.cancel.abandoned=true"),),
    series_links=_OF_SERIES,
)

_BLOCKING: Final = Panel(
    id=17,
    title="Blockings of the event loop",
    unit=PER_SECOND,
    queries=each(rate(MetricName.LOOP_BLOCKED, Label.OPERATION), Label.OPERATION),
    alert="NarratorLoopBlocked",
    meaning="How often a second the event loop stood still for longer than "
    "NARRATOR_BLOCKED_LOOP_S, by the operation whose code it stood in; without a name where it "
    "was none's.",
    bad="anything but 0: nothing moves meanwhile, in no job.",
    then="read the warning in the server's log, or `loop_blocked` in the job's story: both have "
    "the stack. Make that handler `def`, which runs in a thread of its own.",
    links=(to_jobs("state=running"), to_traces()),
)

JOBS: Final = Board(
    uid="narrator-jobs",
    title="Narrator: Jobs",
    answers="Do jobs get through, how fast, and what stops them?",
    variables=(Label.OPERATION, Label.PRIORITY),
    rows=(
        Row(title="The queue", panels=(_DEPTH, _OLDEST, _SATURATION, _HELD)),
        Row(title="Speed", panels=(_WAIT, _RUN, _FLOW)),
        Row(title="Outcomes", panels=(_OUTCOMES, _FAILURES, _ATTEMPTS)),
        Row(title="Trouble", panels=(_RETRIES, _TIMEOUTS, _REFUSED)),
        Row(title="Stopping", panels=(_CANCELLATIONS, _STOPPING, _ABANDONED)),
        Row(title="In the way of others", panels=(_BLOCKING,)),
    ),
)
