"""What a panel is, as data, and the one function that makes it Grafana's; the same for dashboards.

Every panel is a graph over time with the same look. It knows no metric.
"""

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common as shapes
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models

from dashboards.links import NARRATOR, TAG, to_dashboards
from dashboards.queries import VARIABLES, Query
from telemetry.names import Label

METRICS: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")
"""The datasource of metrics."""
ALL: Final = ".*"
"""What a variable stands for while all values are chosen."""

SECONDS: Final = units.Seconds
SHARE: Final = units.PercentUnit
BYTES: Final = units.BytesIEC
NUMBER: Final = units.Short
PER_SECOND: Final = units.CountsPerSecond

_COLUMNS: Final = 24
_HEIGHT: Final = 9
_FIRST_ROW: Final = 1001
"""Rows have ids, too: above those of panels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One graph. Its id is in links of alerts: it is never given to another panel.

    `limit` is drawn as a line: where its alert looks at the same number, or where it is full.
    """

    id: int
    title: str
    unit: str
    queries: tuple[Query, ...]
    meaning: str
    bad: str
    then: str
    alert: str = ""
    limit: float | None = None
    stacked: bool = False
    links: tuple[grafana.DashboardLink, ...] = ()
    series_links: tuple[grafana.DashboardLink, ...] = ()

    @property
    def description(self) -> str:
        """What the reader of the panel is told, as Markdown."""
        told = [self.meaning, f"**Bad:** {self.bad}", f"**Then:** {self.then}"]
        return "\n\n".join([*told, *([f"**Alert:** {self.alert}"] if self.alert else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard; `answers` is the question that it is for."""

    uid: str
    title: str
    answers: str
    variables: tuple[Label, ...]
    rows: tuple[Row, ...]


def dashboard(board: Board) -> models.Dashboard:
    """`board` as Grafana's model."""
    made = (
        grafana.Dashboard(board.title)
        .uid(board.uid)
        .description(board.answers)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(to_dashboards())
    )
    for label in board.variables:
        made.with_variable(_variable(label))
    made.with_variable(
        grafana.TextBoxVariable(NARRATOR)
        .label("Narrator at")
        .description("Where your browser reaches Narrator; links to jobs begin with it.")
        .default_value("http://localhost:8000")
    )
    for number, row in enumerate(board.rows, start=_FIRST_ROW):
        made.with_row(grafana.Row(row.title).id(number))
        for panel in row.panels:
            made.with_panel(_graph(panel).span(_COLUMNS // len(row.panels)).height(_HEIGHT))
    return without_intervals(made.build())


def _variable(label: Label) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(label)
        .label(label.capitalize())
        .datasource(METRICS)
        .query(f"label_values({VARIABLES[label]}, {label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def without_intervals(made: models.Dashboard) -> models.Dashboard:
    """Without what the library sets on every variable and Grafana's schema has for none."""
    for variable in made.templating.list_val or ():
        variable.auto = variable.auto_count = variable.auto_min = None
    return made


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .id(panel.id)
        .title(panel.title)
        .description(panel.description)
        .datasource(METRICS)
        .unit(panel.unit)
        .min(0)
        .fill_opacity(30 if panel.stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            shapes.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .links(list(panel.links))
        .data_links(list(panel.series_links))
    )
    for ref_id, query in zip(ascii_uppercase, panel.queries, strict=False):
        graph.with_target(_target(ref_id, query))
    if panel.stacked:
        graph.stacking(shapes.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.limit is not None:
        _draw_limit(graph, panel.limit)
    return graph


def _target(ref_id: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .datasource(METRICS)
        .expr(query.expr)
        .legend_format(query.legend)
        .range()
        .exemplar(query.exemplars)
    )


def _legend() -> shapes.VizLegendOptions:
    return (
        shapes.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )


def _draw_limit(graph: timeseries.Panel, limit: float) -> None:
    steps = [models.Threshold(color="green"), models.Threshold(value=limit, color="red")]
    graph.thresholds(
        grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    ).thresholds_style(
        shapes.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    )
