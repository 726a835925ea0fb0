"""The dashboard *Service*: is the process well, does it answer, and do its traces leave."""

from typing import Final

from dashboards.links import to_jobs, to_traces
from dashboards.panels import BYTES, NUMBER, PER_SECOND, SECONDS, SHARE, Board, Panel, Row
from dashboards.queries import Query, each, quantiles, rate, series, total
from telemetry.names import Label, MetricName

_LAG: Final = Panel(
    id=1,
    title="Event-loop lag",
    unit=SECONDS,
    queries=quantiles(MetricName.LOOP_LAG),
    limit=0.5,
    alert="NarratorLoopBlocked",
    meaning="How late the event loop ran a timer that was due, measured four times a second.",
    bad="tens of milliseconds: everything is late by as much. Half a second or more: something "
    "blocks the loop, and no stream, request or limit moves meanwhile.",
    then="look for an `async def` handler that computes or calls something that blocks; make it "
    "`def`, which runs in a thread of its own.",
    links=(to_jobs("state=running"), to_traces()),
)

_CPU: Final = Panel(
    id=2,
    title="CPU",
    unit=NUMBER,
    queries=(Query(expr=rate(MetricName.PROCESS_CPU), legend="cores"),),
    limit=1,
    meaning="Cores that the server's process uses; child processes are not in it.",
    bad="near 1: Python runs one thread at a time, so the server has no time left.",
    then='run heavy handlers with `isolation="process"`, or start another server.',
    links=(to_jobs("state=running"),),
)

_MEMORY: Final = Panel(
    id=3,
    title="Memory",
    unit=BYTES,
    queries=(
        Query(expr=total(MetricName.PROCESS_RESIDENT), legend="resident"),
        Query(expr=total(MetricName.RETAINED_BYTES), legend="stories of finished jobs"),
    ),
    meaning="Resident memory of the process, and how much of it is stories of finished jobs.",
    bad="it grows without the stories growing: a handler, or an abandoned one, keeps memory.",
    then="see Jobs' *Abandoned handlers*; NARRATOR_RETENTION_BYTES bounds the stories.",
    links=(to_jobs(),),
)

_FILES: Final = Panel(
    id=4,
    title="Open files, of those allowed",
    unit=SHARE,
    queries=(
        Query(
            expr=f"{total(MetricName.PROCESS_OPEN_FDS)} / {total(MetricName.PROCESS_MAX_FDS)}",
            legend="open",
        ),
    ),
    limit=1,
    meaning="Open file descriptors among those that the system allows; each stream is one.",
    bad="near 100 %: new connections are about to be refused.",
    then="raise the limit (`ulimit -n`), or see Narration's *Open streams* for who keeps them.",
    links=(to_jobs("state=running"),),
)

_CONNECTIONS: Final = Panel(
    id=16,
    title="Open connections",
    unit=NUMBER,
    queries=(Query(expr=total(MetricName.CONNECTIONS_OPEN), legend="connections"),),
    meaning="Connections that are open: streams, requests under way and idle ones.",
    bad="near NARRATOR_MAX_CONNECTIONS: idle ones are closed, and then new ones get 503.",
    then="raise NARRATOR_MAX_CONNECTIONS, or see who keeps so many.",
    links=(to_jobs("state=running"),),
)

_CUT: Final = Panel(
    id=17,
    title="Connections cut",
    unit=PER_SECOND,
    queries=each(rate(MetricName.CONNECTIONS_CUT, Label.REASON), Label.REASON),
    meaning="Connections a second that the server refused or closed by a bound of its own.",
    bad="`too_many`, `made_room`: more clients than there is room for. `head_time`, `body_time`: "
    "slow or malicious ones. `malformed`, `head_size`, `ahead`: no client of ours, or an attack. "
    "`unread`: clients that stopped to read.",
    then="find who sends it (a proxy's log knows the address); the limits are NARRATOR_REQUEST_*, "
    "NARRATOR_UNREAD_S and NARRATOR_MAX_CONNECTIONS.",
    links=(to_jobs("state=running"),),
)

_UPTIME: Final = Panel(
    id=5,
    title="Time since the start",
    unit=SECONDS,
    queries=(
        Query(expr=f"time() - max({series(MetricName.PROCESS_START)})", legend="youngest process"),
    ),
    alert="NarratorDown",
    meaning="How long the server has run; where there are several, the youngest.",
    bad="it falls to 0 unasked: the process died. Jobs that ran then are gone with it.",
    then="read the server's last log lines, and whether the system killed it for its memory.",
    links=(to_jobs(),),
)

_REQUESTS: Final = Panel(
    id=6,
    title="HTTP requests by route",
    unit=PER_SECOND,
    queries=each(
        rate(MetricName.HTTP_ANSWER, Label.METHOD, Label.ROUTE), Label.METHOD, Label.ROUTE
    ),
    stacked=True,
    meaning="Answers a second by method and route; `none` is what is no route of ours.",
    bad="one route far above the others: a client polls. Use streams, or `?wait=`, instead.",
    then="find the client by its traces; each request but probes has a span.",
    links=(to_traces(),),
)

_ANSWERS: Final = Panel(
    id=7,
    title="Time to answer",
    unit=SECONDS,
    queries=quantiles(MetricName.HTTP_ANSWER),
    meaning="From a request to the head of its answer; a stream counts until it begins. Requests "
    "with `?wait=` take as long as they asked for: choose other routes to see past them.",
    bad="tens of milliseconds on a route that only reads: the event loop is late.",
    then="see *Event-loop lag*.",
    links=(to_traces(),),
)

_ERRORS: Final = Panel(
    id=8,
    title="HTTP errors by route",
    unit=PER_SECOND,
    queries=each(
        rate(
            MetricName.HTTP_ANSWER,
            Label.METHOD,
            Label.ROUTE,
            Label.STATUS,
            where=f'{Label.STATUS}=~"[45].."',
        ),
        Label.METHOD,
        Label.ROUTE,
        Label.STATUS,
    ),
    stacked=True,
    meaning="Answers a second that were errors, by route and status.",
    bad="500: a fault of ours. 429 and 503: too full, or draining. 404 on jobs: clients ask for "
    "jobs that were forgotten. 421: NARRATOR_ALLOWED_HOSTS does not have the name that is used.",
    then="the body of each is a problem document that says what, where, and what would be legal.",
    links=(to_traces("error=true"),),
)

_EXPORTED: Final = Panel(
    id=9,
    title="Spans exported",
    unit=PER_SECOND,
    queries=each(rate(MetricName.EXPORTED, Label.OUTCOME), Label.OUTCOME),
    stacked=True,
    alert="NarratorExporterDropping",
    meaning="Spans a second that were given to the exporter.",
    bad="`failed`: the collector is down, too slow, or refuses. Jobs are not affected; their "
    "traces are lost.",
    then="check OTEL_EXPORTER_OTLP_ENDPOINT and the collector; the server logs a line now and "
    "then with a count.",
    links=(to_traces(),),
)

_EXPORT_DROPPED: Final = Panel(
    id=10,
    title="Spans dropped",
    unit=PER_SECOND,
    queries=(Query(expr=rate(MetricName.EXPORT_DROPPED), legend="spans"),),
    alert="NarratorExporterDropping",
    meaning="Spans a second that found no room in the export queue: their traces have holes.",
    bad="anything but 0 for long: more spans are made than leave.",
    then="if *Spans exported* shows `failed`, mend the collector; else raise "
    "OTEL_BSP_MAX_QUEUE_SIZE, or sample (OTEL_TRACES_SAMPLER): narration stays whole.",
    links=(to_traces(),),
)

_EXPORT_QUEUE: Final = Panel(
    id=11,
    title="Spans that wait to leave",
    unit=NUMBER,
    queries=(Query(expr=total(MetricName.EXPORT_QUEUE), legend="spans"),),
    meaning="The length of the export queue; full at OTEL_BSP_MAX_QUEUE_SIZE (2,048 by default).",
    bad="it stays near its limit: the next spans are dropped.",
    then="see *Spans exported*.",
    links=(to_traces(),),
)

_EXPORT_AGE: Final = Panel(
    id=12,
    title="Time since the last export",
    unit=SECONDS,
    queries=(
        Query(
            # A scrape is dated to its beginning: what it reads may be later.
            expr=f"clamp_min(time() - max({series(MetricName.EXPORT_LAST_SUCCESS)} > 0), 0)",
            legend="since the last success",
        ),
    ),
    meaning="Since spans were last sent with success; nothing if none ever were, as without an "
    "exporter.",
    bad="it rises while jobs run: traces do not arrive.",
    then="see *Spans exported*.",
    links=(to_traces(),),
)

_LOGS_EXPORTED: Final = Panel(
    id=13,
    title="Log records exported",
    unit=PER_SECOND,
    queries=(
        *each(rate(MetricName.LOGS_EXPORTED, Label.OUTCOME), Label.OUTCOME),
        Query(expr=rate(MetricName.LOGS_EXPORT_DROPPED), legend="dropped"),
    ),
    stacked=True,
    alert="NarratorExporterDropping",
    meaning="Narration messages a second that left as log records; 0 unless NARRATOR_LOG_EVENTS "
    "is set.",
    bad="`failed`: the collector is down, or takes no logs. `dropped`: more is said than leaves. "
    "Jobs and their stories are not affected.",
    then="check the collector's pipeline for logs, or OTEL_LOGS_EXPORTER=none; raise "
    "OTEL_BLRP_MAX_QUEUE_SIZE where records are only dropped.",
    links=(to_traces(),),
)

_LOGS_QUEUE: Final = Panel(
    id=14,
    title="Log records that wait to leave",
    unit=NUMBER,
    queries=(Query(expr=total(MetricName.LOGS_EXPORT_QUEUE), legend="log records"),),
    meaning="The length of their queue; full at OTEL_BLRP_MAX_QUEUE_SIZE (2,048 by default).",
    bad="it stays near its limit: the next records are dropped.",
    then="see *Log records exported*.",
    links=(to_traces(),),
)

_LOGS_AGE: Final = Panel(
    id=15,
    title="Time since the last export of log records",
    unit=SECONDS,
    queries=(
        Query(
            expr=f"clamp_min(time() - max({series(MetricName.LOGS_EXPORT_LAST_SUCCESS)} > 0), 0)",
            legend="since the last success",
        ),
    ),
    meaning="Since log records were last sent with success; nothing if none ever were.",
    bad="it rises while jobs run: what is narrated does not arrive as logs.",
    then="see *Log records exported*.",
    links=(to_traces(),),
)

_COMMITS: Final = Panel(
    id=18,
    title="Time to commit",
    unit=SECONDS,
    queries=quantiles(MetricName.STORE_COMMIT),
    meaning="From handing a batch of changes to the store until it is on disk; each 202, each "
    "event and each start of an attempt waits for one. Nothing without `--store`.",
    bad="hundreds of milliseconds: the disk is slow or busy, and all jobs with it.",
    then="look at the disk; put the file on a faster one. NARRATOR_STORE_SYNC=full waits for the "
    "disk at each commit.",
    links=(to_jobs(),),
)

_STORED: Final = Panel(
    id=19,
    title="Commits, and events kept",
    unit=PER_SECOND,
    queries=(
        Query(expr=rate(MetricName.STORE_COMMIT), legend="commits"),
        Query(expr=rate(MetricName.STORE_EVENTS), legend="events"),
    ),
    meaning="Batches a second that were committed, and events of stories in them: the more there "
    "is to do, the more share a commit.",
    bad="commits fall while jobs run: see *Commits that failed*.",
    then="see *Time to commit*.",
    links=(to_jobs(),),
)

_STORE_FAILURES: Final = Panel(
    id=20,
    title="Commits that failed",
    unit=PER_SECOND,
    queries=each(rate(MetricName.STORE_FAILURES, Label.REASON), Label.REASON),
    stacked=True,
    alert="NarratorStoreFailing",
    meaning="Batches a second that could not be written; each is tried again, with all that came "
    "since.",
    bad="anything but 0: nothing is acknowledged, submissions get 503, streams stand still.",
    then="`store-full`: make room on the disk. `store-failed`: the server's log has SQLite's "
    "words. `store-corrupt`: `narrator store check`, and a backup.",
    links=(to_jobs("state=running"),),
)

SERVICE: Final = Board(
    uid="narrator-service",
    title="Narrator: Service",
    answers="Is the process well, does it answer, and do its traces leave?",
    variables=(Label.ROUTE,),
    rows=(
        Row(title="The process", panels=(_LAG, _CPU, _MEMORY)),
        Row(title="Its limits", panels=(_FILES, _CONNECTIONS, _CUT, _UPTIME)),
        Row(title="The store", panels=(_COMMITS, _STORED, _STORE_FAILURES)),
        Row(title="HTTP", panels=(_REQUESTS, _ANSWERS, _ERRORS)),
        Row(
            title="Traces that leave",
            panels=(_EXPORTED, _EXPORT_DROPPED, _EXPORT_QUEUE, _EXPORT_AGE),
        ),
        Row(title="Log records that leave", panels=(_LOGS_EXPORTED, _LOGS_QUEUE, _LOGS_AGE)),
    ),
)
