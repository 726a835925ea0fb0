"""PromQL, from the published table of metrics: what has no row there can't be asked for.

Where a metric has a label that a dashboard has a variable for, every query of it is narrowed by
that variable. It knows nothing of panels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from telemetry.names import Label, MetricName
from telemetry.table import METRIC_ROWS, MetricType

WINDOW: Final = "$__rate_interval"
"""Grafana's: at least four scrapes, so that a rate always has two samples to compare."""

VARIABLES: Final[Mapping[Label, MetricName]] = {
    Label.OPERATION: MetricName.RUNNING,
    Label.PRIORITY: MetricName.QUEUE_DEPTH,
    Label.SOURCE: MetricName.MESSAGES,
    Label.LEVEL: MetricName.MESSAGES,
    Label.ROUTE: MetricName.HTTP_ANSWER,
}
"""The labels that dashboards have a variable for, and the metric that knows its values."""

QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel; `exemplars` asks for the links to traces, too."""

    expr: str
    legend: str
    exemplars: bool = False


def series(name: MetricName, *, part: str = "", where: str = "") -> str:
    """The series of a metric as the variables choose; `where` is one more matcher.

    `part` is the suffix of a histogram's series: `_bucket`, `_count` or `_sum`.
    """
    chosen = [
        f'{label}=~"${label}"' for label in METRIC_ROWS[name].labels if Label(label) in VARIABLES
    ]
    matchers = ",".join([*chosen, *([where] if where else [])])
    return f"{name}{part}" + (f"{{{matchers}}}" if matchers else "")


def total(name: MetricName, *by: Label) -> str:
    """A gauge as it is now, added up by these labels."""
    return f"sum{_by(*by)} ({series(name)})"


def rate(name: MetricName, *by: Label, where: str = "") -> str:
    """How often a second a counter, or the count of a histogram, moves."""
    part = "_count" if METRIC_ROWS[name].type is MetricType.HISTOGRAM else ""
    return f"sum{_by(*by)} (rate({series(name, part=part, where=where)}[{WINDOW}]))"


def quantiles(name: MetricName, *, exemplars: bool = False) -> tuple[Query, ...]:
    """The median, p95 and p99 of a histogram."""
    buckets = f"sum by (le) (rate({series(name, part='_bucket')}[{WINDOW}]))"
    return tuple(
        Query(
            expr=f"histogram_quantile({quantile}, {buckets})",
            legend=f"p{round(quantile * 100)}",
            exemplars=exemplars and quantile == max(QUANTILES),  # the same ones for all three
        )
        for quantile in QUANTILES
    )


def each(expr: str, *labels: Label) -> tuple[Query, ...]:
    """One query whose series are named by these labels."""
    return (Query(expr=expr, legend=" ".join(f"{{{{{label}}}}}" for label in labels)),)


def _by(*labels: Label) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
