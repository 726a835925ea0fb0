"""The dashboard *Narration*: is what jobs say heard, whole and in time, and what does it cost."""

from typing import Final

from dashboards.links import to_jobs, to_traces
from dashboards.panels import BYTES, NUMBER, PER_SECOND, SECONDS, SHARE, Board, Panel, Row
from dashboards.queries import WINDOW, Query, each, rate, total
from telemetry.names import Label, MetricName

_BY_SOURCE: Final = Panel(
    id=1,
    title="Messages by source",
    unit=PER_SECOND,
    queries=each(rate(MetricName.MESSAGES, Label.SOURCE), Label.SOURCE),
    stacked=True,
    meaning="Messages a second that were stored, by where they came from.",
    bad="one source dwarfs the others: a library's spans or a chatty child process drown what "
    "handlers say, and push it out of the log.",
    then="make that source quieter: a log level, a sampling of its spans, fewer lines.",
    links=(to_jobs("state=running"),),
)

_BY_LEVEL: Final = Panel(
    id=2,
    title="Messages by level",
    unit=PER_SECOND,
    queries=each(rate(MetricName.MESSAGES, Label.LEVEL), Label.LEVEL),
    stacked=True,
    meaning="Messages a second that were stored, by their severity.",
    bad="`error` or `warn` rise: jobs complain, even where they still complete.",
    then="read the story of a job that failed; its errors are in it, in order.",
    links=(to_jobs("state=failed"), to_traces("error=true")),
)

_DROPPED: Final = Panel(
    id=3,
    title="Messages that were lost",
    unit=PER_SECOND,
    queries=each(rate(MetricName.MESSAGES_DROPPED, Label.REASON), Label.REASON),
    alert="NarratorNarrationDropping",
    meaning="Messages a second that never reached their log, by reason. Readers are told how many.",
    bad="`overflow`: threads say more than the event loop takes. `error`: narration itself failed "
    "on a message. `late`: a handler spoke after its job had ended, most often an abandoned one.",
    then="for `overflow` see Service's *Event-loop lag*; for `error` read the server's log; for "
    "`late` see Jobs' *Abandoned handlers*.",
    links=(to_jobs(),),
)

_STREAMS: Final = Panel(
    id=4,
    title="Open streams",
    unit=NUMBER,
    queries=(Query(expr=total(MetricName.STREAMS_OPEN), legend="streams"),),
    meaning="Streams that are being read now.",
    bad="it falls to 0 at once while jobs run: a proxy or the network cut all readers off. It "
    "only ever grows: readers do not close.",
    then="check the proxy's timeouts and buffering; heartbeats come every NARRATOR_HEARTBEAT_S.",
    links=(to_jobs("state=running"),),
)

_DELIVERED: Final = Panel(
    id=5,
    title="Events delivered",
    unit=PER_SECOND,
    queries=(
        Query(expr=rate(MetricName.MESSAGES_DELIVERED), legend="all"),
        Query(expr=rate(MetricName.MESSAGES_REPLAYED), legend="replayed"),
    ),
    meaning="Events a second that were written to streams; replayed ones were there before their "
    "reader came.",
    bad="0 while messages are stored and streams are open: readers hang.",
    then="see *Slow readers*, and Service's *Event-loop lag*.",
    links=(to_jobs("state=running"),),
)

_REPLAY: Final = Panel(
    id=6,
    title="Share that is replayed",
    unit=SHARE,
    queries=(
        Query(
            expr=f"{rate(MetricName.MESSAGES_REPLAYED)} "
            f"/ ({rate(MetricName.MESSAGES_DELIVERED)} > 0)",
            legend="replayed",
        ),
    ),
    meaning="Events from before their reader attached, among all delivered; nothing where none is.",
    bad="it stays high with open streams: clients reconnect all the time and read the same again.",
    then="see that clients send Last-Event-ID, and that no proxy cuts streams short.",
    links=(to_jobs("state=running"),),
)

_GAPS: Final = Panel(
    id=7,
    title="Gaps told to readers",
    unit=PER_SECOND,
    queries=each(rate(MetricName.GAPS, Label.REASON), Label.REASON),
    meaning="Gaps a second: a reader was told that events are missing, and why.",
    bad="`evicted`: stories are longer than NARRATOR_LOG_LIMIT. `slow_reader`: a client reads too "
    "slowly. `forgotten`: jobs are evicted while they are read. `unknown_id`: clients resume with "
    "ids of another server or of before a restart.",
    then="raise NARRATOR_LOG_LIMIT, or the retention, or say less; fix the client for the others.",
    links=(to_jobs(),),
)

_SLOW: Final = Panel(
    id=8,
    title="Slow readers",
    unit=PER_SECOND,
    queries=(Query(expr=rate(MetricName.SLOW_READERS), legend="readers"),),
    meaning="Readers a second that the log moved past: they miss events, and no job waits for "
    "them.",
    bad="anything but 0 for long: clients or the network can't keep up.",
    then="let such clients filter (`?level=`), or read `/narration` when the job has ended.",
    links=(to_jobs("state=running"),),
)

_ALL_MESSAGES: Final = f"sum (rate({MetricName.MESSAGES}[{WINDOW}]))"
"""Whatever is chosen: CPU time is not known by source."""

_COST: Final = Panel(
    id=9,
    title="CPU time for a thousand messages",
    unit=SECONDS,
    queries=(
        Query(
            expr=f"1000 * {rate(MetricName.PROCESS_CPU)} / ({_ALL_MESSAGES} > 0)",
            legend="CPU, all that the server does",
        ),
    ),
    meaning="CPU time of the whole server, handlers among it, for a thousand stored messages: an "
    "upper bound of what narration costs.",
    bad="it rises at the same kind of load: something in the server has become dear.",
    then="`narrator bench` measures bare, traced and narrated code side by side.",
    links=(to_traces(),),
)

_KEPT_BYTES: Final = Panel(
    id=10,
    title="Memory of kept stories",
    unit=BYTES,
    queries=(Query(expr=total(MetricName.RETAINED_BYTES), legend="stories"),),
    meaning="Memory of the stories of finished jobs.",
    bad="at NARRATOR_RETENTION_BYTES the oldest are forgotten, however young they are.",
    then="raise the limit, keep fewer (NARRATOR_RETENTION_JOBS), or say less.",
    links=(to_jobs("state=completed"),),
)

_STORY_BYTES: Final = Panel(
    id=11,
    title="Memory of one kept story",
    unit=BYTES,
    queries=(
        Query(
            expr=f"{total(MetricName.RETAINED_BYTES)} / ({total(MetricName.RETAINED_JOBS)} > 0)",
            legend="mean",
        ),
    ),
    meaning="The mean memory of the story of a finished job; nothing where none is kept.",
    bad="it jumps after a release: jobs say far more, or far longer texts.",
    then="read one of the stories; NARRATOR_MAX_MESSAGE_BYTES cuts long texts.",
    links=(to_jobs("state=completed"),),
)

_KEPT: Final = Panel(
    id=12,
    title="Finished jobs that are kept",
    unit=NUMBER,
    queries=(Query(expr=total(MetricName.RETAINED_JOBS), legend="jobs"),),
    meaning="Finished jobs whose record and story can still be read.",
    bad="at NARRATOR_RETENTION_JOBS each new one pushes an old one out.",
    then="raise the limit if people look for jobs that are gone.",
    links=(to_jobs("state=completed"),),
)

NARRATION: Final = Board(
    uid="narrator-narration",
    title="Narrator: Narration",
    answers="Is what jobs say heard, whole and in time, and what does it cost?",
    variables=(Label.SOURCE, Label.LEVEL),
    rows=(
        Row(title="What is said", panels=(_BY_SOURCE, _BY_LEVEL, _DROPPED)),
        Row(title="Who listens", panels=(_STREAMS, _DELIVERED, _REPLAY)),
        Row(title="What readers miss", panels=(_GAPS, _SLOW)),
        Row(title="What it costs", panels=(_COST, _KEPT_BYTES, _STORY_BYTES, _KEPT)),
    ),
)
