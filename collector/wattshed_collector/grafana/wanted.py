"""What a Grafana is to have, as the bodies of its HTTP API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wattshed_collector.errors import InvalidInput
from wattshed_dashboards import provisioning, render
from wattshed_dashboards.alerts import Catalogue, grafana
from wattshed_dashboards.boards import BOARDS

Json = dict[str, Any]
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Boards by uid, groups of rules by name; ``datasource`` None: there is one already."""

    datasource: Json | None
    datasource_uid: str
    boards: Mapping[str, Json]
    groups: Mapping[str, Json]


def wanted(
    catalogue: Catalogue, collector_url: str, token: str = "", datasource_uid: str = ""
) -> Wanted:
    """Return what a Grafana that reaches the collector at ``collector_url`` is to have.

    Args:
        token: what the data source shows the collector, "" where it asks nobody.
        datasource_uid: a data source that there is already and that stays as it is.

    Raises:
        InvalidInput: the URL is none.
    """
    address = urlsplit(collector_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InvalidInput(f"{collector_url} is no http or https URL", "url")
    is_secure = address.scheme == "https"
    source = provisioning.datasource(
        address.hostname,
        address.port or (443 if is_secure else 80),
        secure=is_secure,
        token=token,
        path=address.path.rstrip("/") + provisioning.PATH,
    )
    uid = datasource_uid or provisioning.DATASOURCE_UID
    return Wanted(
        None if datasource_uid else source,
        uid,
        {board.uid: _board(render.document(board), collector_url) for board in BOARDS},
        dict(_groups(catalogue, collector_url, uid)),
    )


def seconds(length: object) -> float:
    """Return a length such as ``1m30s``, or a number of seconds, as seconds."""
    if isinstance(length, int | float):
        return float(length)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", str(length))
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def _board(document: Json, collector_url: str) -> Json:
    """Return a board whose links to runbooks lead to this collector."""
    for variable in document["templating"]["list"]:
        if variable["name"] == render.COLLECTOR:
            current = {"selected": True, "text": collector_url, "value": collector_url}
            variable |= {"query": collector_url, "current": current}
    return document


def _groups(catalogue: Catalogue, collector_url: str, uid: str) -> list[tuple[str, Json]]:
    """Return groups as the API takes them, which is not quite as the file has them."""
    said = grafana.rules(catalogue, collector_url)
    found = []
    for group in said["groups"]:
        body = {
            "title": group["name"],
            "folderUid": provisioning.FOLDER_UID,
            "interval": int(seconds(group["interval"])),
            "rules": [_rule(rule, group["name"], uid) for rule in group["rules"]],
        }
        found.append((group["name"], body))
    return found


def _rule(rule: Json, group: str, uid: str) -> Json:
    kept = {k: v for k, v in rule.items() if k not in ("dashboardUid", "keepFiringFor", "data")}
    return {
        **kept,
        "orgID": 1,
        "folderUID": provisioning.FOLDER_UID,
        "ruleGroup": group,
        "keep_firing_for": rule["keepFiringFor"],
        "data": [_asked(query, uid) for query in rule["data"]],
    }


def _asked(query: Json, uid: str) -> Json:
    if query["datasourceUid"] == "__expr__":
        return query
    model = {**query["model"], "datasource": {**query["model"]["datasource"], "uid": uid}}
    return {**query, "datasourceUid": uid, "model": model}
