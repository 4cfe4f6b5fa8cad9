"""Rules that every dashboard keeps, over Grafana's JSON of it, so that they bind what is loaded.

A rule takes one dashboard and what there is beside it, and yields what is wrong in words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from . import sql_shape
from .model import WIDTH, Kind
from .render import COLLECTOR, TABLE_FORMAT, TAG, TIME_SERIES_FORMAT
from .units import is_unit
from .variables import DATASOURCE, VARIABLES

Json = Mapping[str, Any]
MOST_BYTES = 200_000
MOST_PANELS = 20
"""Open at once: what is collapsed asks nothing yet."""
MOST_LINES = 15
TITLE_OF_THREE = 16
"""Characters of a title that a number of three columns shows on a screen of 1,280 pixels."""
STANDING = frozenset(
    {
        "v_device",
        "v_expected_idle",
        "v_firmware_drift",
        "v_grid_forecast",
        "v_live",
        "v_numerics",
        "v_quality",
        "v_sample_latest",
        "v_site_zone",
        "v_slo",
        "v_slo_burn",
        "v_tree",
        "v_workload",
    }
)
"""Views that say what is so now or for good, beside those called ``v_..._now`` and ``v_alert_...``:
they need no time range."""
BOUNDS = ("$__timeFilter", "$__timeFrom", "$__fromTime", "t >= toStartOfHour(now())")
"""What keeps a statement from reading all of time; the last is of hours to come."""
_UID = re.compile(r"wattshed-[a-z]+(-[a-z]+)*")
_CONDITION = re.compile(r"\$__conditionalAll\([^$]*\$\{(\w+):singlequote\}\)+, ?\$(\w+)\)")
_SET = re.compile(r"var-(\w+)=\$\{__data\.fields\.(\w+)")
_SECRET = re.compile(r'"(?:password|secureJsonData|authorization|apiKey|bearer)"', re.IGNORECASE)
_KINDS = frozenset(map(str, Kind))
_SERIES = frozenset(str(kind) for kind in Kind if kind.is_over_time)


@dataclass(frozen=True, slots=True)
class Known:
    """What a link can lead to: boards by uid with their variables, and pages of what to do."""

    boards: Mapping[str, frozenset[str]] = field(default_factory=dict)
    runbooks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, documents: Iterable[Json], runbooks: Iterable[str]) -> Known:
        """Gather what a set of dashboards is to each other."""
        boards = {document["uid"]: frozenset(variables(document)) for document in documents}
        return cls(boards, frozenset(runbooks))


Rule = Callable[[Json, Known], Iterator[str]]


def lint(documents: Sequence[Json], runbooks: Iterable[str]) -> list[str]:
    """Return all that is wrong with a set of dashboards, each line beginning with the uid."""
    known = Known.of(documents, runbooks)
    found = [
        f"{document.get('uid')}: {said}"
        for document in documents
        for rule in RULES
        for said in rule(document, known)
    ]
    twice = [f"{uid}: its uid is used twice" for uid in _twice(d["uid"] for d in documents)]
    titles = [f"{t}: its title is used twice" for t in _twice(d["title"] for d in documents)]
    return found + twice + titles


def variables(document: Json) -> list[str]:
    """Return the names of what a dashboard can be narrowed to."""
    return [variable["name"] for variable in document["templating"]["list"]]


def panels(document: Json) -> list[Json]:
    """Return all panels without rows, also those in collapsed rows."""
    found: list[Json] = []
    for panel in document["panels"]:
        found += panel.get("panels", []) if panel["type"] == "row" else [panel]
    return found


def asking(document: Json) -> Iterator[tuple[Json, Json]]:
    """Yield each panel that asks with each of its targets."""
    for panel in panels(document):
        for target in panel.get("targets", ()):
            yield panel, target


def is_classic(document: Json, _: Known) -> Iterator[str]:
    if "apiVersion" in document or "spec" in document or "dashboard" in document:
        yield "is not the classic schema, or stands in a wrapper"
    if not isinstance(document.get("schemaVersion"), int):
        yield "lacks schemaVersion"
    if document.get("editable", True):
        yield "can be edited in place, and the next start would take that back"


def has_a_name(document: Json, _: Known) -> Iterator[str]:
    if not _UID.fullmatch(document["uid"]):
        yield "uid is not wattshed-<word>"
    if TAG not in document["tags"]:
        yield f"lacks the tag {TAG}"
    if not document["title"] or not document["description"]:
        yield "lacks a title or the question that it answers"


def asks_the_chosen_source(document: Json, _: Known) -> Iterator[str]:
    if DATASOURCE not in variables(document):
        yield "lacks the variable for the data source"
    for panel, target in asking(document):
        for asked in (panel, target):
            if asked["datasource"]["uid"] != f"${{{DATASOURCE}}}":
                yield f"{panel['title']}: names a data source of its own"


def says_what_it_is(document: Json, _: Known) -> Iterator[str]:
    for panel in panels(document):
        if not panel["title"] or not panel["description"]:
            yield f"panel {panel['id']}: lacks a title or a description"
    for panel, target in asking(document):
        named = sql_shape.sources(target["rawSql"])
        if named and not any(name in panel["description"] for name in named):
            yield f"{panel['title']}: the description names none of {', '.join(sorted(named))}"


def titles_fit(document: Json, _: Known) -> Iterator[str]:
    for panel in panels(document):
        most = panel["gridPos"]["w"] * TITLE_OF_THREE // 3
        if panel["type"] == Kind.STAT and len(panel["title"]) > most:
            yield f"{panel['title']}: its title is longer than {most} characters, and is cut"


def has_units(document: Json, _: Known) -> Iterator[str]:
    for panel, _target in asking(document):
        config = panel["fieldConfig"]
        used = [config["defaults"]["unit"]] if panel["type"] != Kind.TABLE else []
        for override in config["overrides"]:
            used += [p["value"] for p in override["properties"] if p["id"] == "unit"]
        for unit in used:
            if not is_unit(unit):
                yield f"{panel['title']}: {unit!r} is no unit of Grafana"


def asks_in_the_right_format(document: Json, _: Known) -> Iterator[str]:
    for panel, target in asking(document):
        wanted = TIME_SERIES_FORMAT if panel["type"] in _SERIES else TABLE_FORMAT
        if target["format"] != wanted:
            yield f"{panel['title']}: wrong format for a {panel['type']}"
        if not target["rawSql"].strip():
            yield f"{panel['title']}: asks nothing"


def series_ascend(document: Json, _: Known) -> Iterator[str]:
    """Of a series that a column names, the number is ``Value``: else each name begins with it."""
    for panel, target in asking(document):
        if target["format"] != TIME_SERIES_FORMAT:
            continue
        sql = target["rawSql"]
        columns, groups = sql_shape.columns(sql), sql_shape.groups(sql)
        if not columns or sql_shape.ascends_by(sql) != columns[0]:
            yield f"{panel['title']}: is not ordered by its time column, which comes first"
        names = [column for column in columns[1:] if column in groups]
        values = [column for column in columns[1:] if column not in groups]
        if names and len(values) == 1 and values != ["Value"]:
            yield f"{panel['title']}: the number of a named series is not called Value"


def tables_end(document: Json, _: Known) -> Iterator[str]:
    many = {Kind.TABLE, Kind.BAR_GAUGE, Kind.XY_CHART}
    for panel, target in asking(document):
        if panel["type"] in many and not re.search(
            r"\bLIMIT\s+\d+", sql_shape.outermost(target["rawSql"])
        ):
            yield f"{panel['title']}: has no LIMIT"


def looks_at_the_range(document: Json, _: Known) -> Iterator[str]:
    for panel, target in asking(document):
        sql = target["rawSql"]
        if any(bound in sql for bound in BOUNDS):
            continue
        if not all(_is_standing(name) for name in sql_shape.sources(sql)):
            yield f"{panel['title']}: reads all of time"


def _is_standing(view: str) -> bool:
    return view in STANDING or view.endswith("_now") or view.startswith("v_alert_")


def reads_views_only(document: Json, _: Known) -> Iterator[str]:
    for panel, target in asking(document):
        sql = target["rawSql"]
        for name in sorted(sql_shape.sources(sql)):
            if not name.startswith("v_"):
                yield f"{panel['title']}: reads {name}, which is no view"
        if re.search(r"\bSELECT\s+(\w+\.)?\*", sql, re.IGNORECASE):
            yield f"{panel['title']}: SELECT *"
        if len(sql.strip().splitlines()) > MOST_LINES:
            yield f"{panel['title']}: its SQL is long enough to be a view"


def narrows_by_its_variables(document: Json, _: Known) -> Iterator[str]:
    has = set(variables(document))
    for title, sql in _statements(document):
        for quoted, decided in _CONDITION.findall(sql):
            if quoted != decided or quoted not in has:
                yield f"{title}: compares ${quoted}, which is not chosen here"
        left = re.findall(r"\$\{?(\w+)", _CONDITION.sub("", sql))
        for name in sorted({n for n in left if n in VARIABLES or n == "__conditionalAll"}):
            yield f"{title}: uses ${name} outside $__conditionalAll with singlequote"


def _statements(document: Json) -> Iterator[tuple[str, str]]:
    for panel, target in asking(document):
        yield panel["title"], target["rawSql"]
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]


def links_lead_somewhere(document: Json, known: Known) -> Iterator[str]:
    for panel in panels(document):
        columns = _columns(panel)
        for url in _urls(panel):
            if url.startswith("/d/"):
                uid = url.removeprefix("/d/").partition("?")[0]
                has = known.boards.get(uid)
                if has is None:
                    yield f"{panel['title']}: leads to {uid}, which is no board"
                for name, column in _SET.findall(url):
                    if has is not None and name not in has:
                        yield f"{panel['title']}: {uid} has no variable {name}"
                    if column not in columns:
                        yield f"{panel['title']}: a link wants column {column}"
            page = url.removeprefix(f"${{{COLLECTOR}}}/runbooks/")
            if page != url and page not in known.runbooks:
                yield f"{panel['title']}: there is no page {page} of what to do"


def _columns(panel: Json) -> set[str]:
    return {name for t in panel.get("targets", ()) for name in sql_shape.columns(t["rawSql"])}


def _urls(panel: Json) -> Iterator[str]:
    yield from (link["url"] for link in panel.get("links", ()))
    config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
    yield from (link["url"] for link in config["defaults"].get("links", ()))
    for override in config["overrides"]:
        for said in override["properties"]:
            if said["id"] == "links":
                yield from (link["url"] for link in said["value"])


def columns_are_there(document: Json, _: Known) -> Iterator[str]:
    """A column of a table that is described is one of the answer's."""
    for panel, target in asking(document):
        if target["format"] == TABLE_FORMAT:
            names = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
            for name in sorted(names - set(sql_shape.columns(target["rawSql"]))):
                yield f"{panel['title']}: describes {name}, which is no column of it"


def is_laid_out(document: Json, _: Known) -> Iterator[str]:
    rows = [panel for panel in document["panels"] if panel["type"] == "row"]
    for number in _twice(panel["id"] for panel in (*rows, *panels(document))):
        yield f"id {number} is used twice"
    for panel in (*document["panels"], *panels(document)):
        place = panel["gridPos"]
        if place["x"] + place["w"] > WIDTH or min(place.values()) < 0:
            yield f"panel {panel['id']} leaves the grid"
    for one, other in combinations(document["panels"], 2):
        if _meet(one["gridPos"], other["gridPos"]):
            yield f"panels {one['id']} and {other['id']} overlap"
    open_panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    if len(open_panels) > MOST_PANELS:
        yield f"{len(open_panels)} panels are open at once"


def _meet(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def is_of_today(document: Json, _: Known) -> Iterator[str]:
    for panel in panels(document):
        if panel["type"] not in _KINDS:
            yield f"{panel['title']}: {panel['type']} is not used"


def is_small_and_open(document: Json, _: Known) -> Iterator[str]:
    text = json.dumps(document, ensure_ascii=False)
    if len(text.encode()) > MOST_BYTES:
        yield f"is larger than {MOST_BYTES} bytes"
    if _SECRET.search(text):
        yield "holds what looks like a secret"


def _twice(names: Iterable[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


RULES: tuple[Rule, ...] = (
    is_classic,
    has_a_name,
    asks_the_chosen_source,
    says_what_it_is,
    titles_fit,
    has_units,
    asks_in_the_right_format,
    series_ascend,
    tables_end,
    looks_at_the_range,
    reads_views_only,
    narrows_by_its_variables,
    links_lead_somewhere,
    columns_are_there,
    is_laid_out,
    is_of_today,
    is_small_and_open,
)
