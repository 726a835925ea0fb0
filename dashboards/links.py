"""Where a panel leads: to jobs and their narration in Narrator's console, to traces in Jaeger.

It knows the addresses only; that they are served is proven in `tests/dashboards`.
"""

import json
import re
from typing import Any, Final
from urllib.parse import quote

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from telemetry.names import SCOPE, SPAN_JOB, Label

NARRATOR: Final = "narrator"
"""The variable that holds where Narrator is, as the reader's browser reaches it."""
TRACES: Final = "jaeger"
"""The uid of the datasource of traces."""
TAG: Final = "narrator"
"""What all three dashboards are tagged with, so that each can list the others."""

_OPERATION: Final = f"${{__field.labels.{Label.OPERATION}}}"
_ENCODED_VARIABLE: Final = re.compile(r"%24%7B([\w.]+)%7D")


def to_jobs(query: str = "") -> DashboardLink:
    """The jobs that `query` finds, as the console lists them; each opens with its narration."""
    shown = f" ({query})" if query else ""
    return _link(f"Jobs{shown}, each with its narration", _jobs(query))


def to_jobs_of_series(query: str = "") -> DashboardLink:
    """The same, of the operation of the series that was clicked."""
    with_operation = "&".join(filter(None, [f"{Label.OPERATION}={_OPERATION}", query]))
    return _link("Jobs of this operation, each with its narration", _jobs(with_operation))


def to_traces(tags: str = "") -> DashboardLink:
    """Traces of the time shown; `tags` are in logfmt, as Jaeger's search takes them."""
    shown = f" ({tags})" if tags else ""
    return _link(f"Traces{shown}", _explore({"tags": tags} if tags else {}))


def to_traces_of_series() -> DashboardLink:
    """The same, of the operation of the series that was clicked."""
    return _link("Traces of this operation", _explore({"operation": f"{SPAN_JOB} {_OPERATION}"}))


def to_dashboards() -> DashboardLink:
    """The other dashboards, for the same time and with the same choices."""
    return (
        DashboardLink("Narrator's dashboards")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def _jobs(query: str) -> str:
    return f"${{{NARRATOR}}}/" + (f"?{query}" if query else "")


def _explore(search: dict[str, Any]) -> str:
    """A search for traces in Grafana's own Explore, which reaches Jaeger wherever it is."""
    source = {"type": "jaeger", "uid": TRACES}
    query = {"refId": "A", "datasource": source, "queryType": "search", "service": SCOPE, **search}
    pane = {
        "datasource": TRACES,
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    panes = quote(json.dumps({"traces": pane}, separators=(",", ":")))
    # Grafana fills in variables before it decodes: their names must be plain.
    return "/explore?schemaVersion=1&panes=" + _ENCODED_VARIABLE.sub(r"${\1}", panes)


def _link(title: str, url: str) -> DashboardLink:
    return DashboardLink(title).type(DashboardLinkType.LINK).url(url).target_blank(True)
