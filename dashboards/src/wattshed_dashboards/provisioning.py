"""What a Grafana loads at its start beside boards and rules: the data source and who reads boards.

Source: Grafana's documentation of provisioning (11 to 13) and the ClickHouse data source's of its
configuration (4.x). ``$NAME`` in these files is taken from Grafana's environment.
"""

from __future__ import annotations

from typing import Any

from .variables import DATASOURCE_TYPE

Json = dict[str, Any]
DATASOURCE_UID = "wattshed-clickhouse"
FOLDER, FOLDER_UID = "wattshed", "wattshed"
BOARDS_PATH = "/var/lib/grafana/dashboards/wattshed"
"""Where the files of ``dashboards/grafana`` are to be mounted."""
PATH = "/clickhouse"
USER = "grafana"
"""Any name will do: the collector knows who asks by the token that is the password."""
TOKEN = "$WATTSHED_GRAFANA_TOKEN"
HOST, PORT = "collector", 9740
DATABASE = "default"
QUERY_TIMEOUT_S = 60


def datasource(
    host: str = HOST,
    port: int = PORT,
    *,
    secure: bool = False,
    token: str = TOKEN,
    path: str = PATH,
    database: str = DATABASE,
) -> Json:
    """Return the data source: rules know its uid. ``token`` "": the collector asks nobody."""
    return {
        "name": "wattshed",
        "uid": DATASOURCE_UID,
        "type": DATASOURCE_TYPE,
        "access": "proxy",
        "jsonData": {
            "protocol": "http",
            "host": host,
            "port": port,
            "path": path,
            "secure": secure,
            "username": USER,
            "defaultDatabase": database,
            "queryTimeout": str(QUERY_TIMEOUT_S),
            "enableMapKeysDiscovery": False,
        },
        **({"secureJsonData": {"password": token}} if token else {}),
    }


def datasources() -> Json:
    """Return the file for ``provisioning/datasources``."""
    return {"apiVersion": 1, "datasources": [{**datasource(), "orgId": 1, "editable": False}]}


def providers() -> Json:
    """Return the file for ``provisioning/dashboards``."""
    provider = {
        "name": "wattshed",
        "orgId": 1,
        "type": "file",
        "folder": FOLDER,
        "folderUid": FOLDER_UID,
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 60,
        "options": {"path": BOARDS_PATH},
    }
    return {"apiVersion": 1, "providers": [provider]}


def contact_points() -> Json:
    """Return an example of receivers: a page, mail to the owner's team, and a dead man's switch."""
    points = [
        ("wattshed-page", "webhook", {"url": "https://pager.example/hook"}),
        ("wattshed-mail", "email", {"addresses": "gpu-owners@example.com"}),
        ("wattshed-deadman", "webhook", {"url": "https://deadman.example/wattshed"}),
    ]
    return {
        "apiVersion": 1,
        "contactPoints": [
            {
                "orgId": 1,
                "name": name,
                "receivers": [{"uid": name, "type": kind, "settings": settings}],
            }
            for name, kind, settings in points
        ],
    }


def policies() -> Json:
    """Return an example of routes; loading it replaces the whole tree that a Grafana has."""
    severities = (("critical", "wattshed-page", "4h"), ("none", "wattshed-deadman", "1m"))
    routes = [
        {
            "receiver": receiver,
            "object_matchers": [["severity", "=", severity]],
            "repeat_interval": again,
        }
        for severity, receiver, again in severities
    ]
    tree = {
        "orgId": 1,
        "receiver": "wattshed-mail",
        "group_by": ["alertname", "cluster", "team"],
        "group_wait": "2m",
        "group_interval": "10m",
        "repeat_interval": "12h",
        "routes": routes,
    }
    return {"apiVersion": 1, "policies": [tree]}
