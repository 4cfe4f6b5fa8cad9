"""A Grafana behind its HTTP API, through grafana-client; its errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from wattshed_collector.errors import Denied, InvalidInput, Permanent, Retryable
from wattshed_dashboards import provisioning
from wattshed_dashboards.variables import DATASOURCE_TYPE

Json = dict[str, Any]
TIMEOUT_SECONDS = 20.0
NOT_FOUND, FORBIDDEN = 404, (401, 403)


class Grafana:
    """Asks and tells one Grafana.

    Args:
        url: such as ``https://grafana.example/team``.
        token: of a service account with the role Editor for boards and rules, Admin for the data
            source.

    Raises:
        InvalidInput: the URL is none.
        Denied, Retryable, Permanent: by every method, as the server answers.
    """

    def __init__(self, url: str, token: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InvalidInput(f"{url} is no http or https URL of a Grafana", "url")
        self._url = url
        self._api = GrafanaApi.from_url(url, credential=token or None, timeout=timeout_seconds)

    def version(self) -> str:
        with self._ours():
            return str((self._api.health.check() or {}).get("version", ""))

    def plugin_version(self) -> str | None:
        """Return the version of the ClickHouse data source, None where it is not installed."""
        with self._ours():
            for plugin in self._api.plugin.list():
                if plugin.get("id") == DATASOURCE_TYPE:
                    return str(plugin.get("info", {}).get("version", ""))
        return None

    def folder(self) -> Json | None:
        return self._found(lambda: self._api.folder.get_folder(provisioning.FOLDER_UID))

    def datasource(self, uid: str) -> Json | None:
        return self._found(lambda: self._api.datasource.get_datasource_by_uid(uid))

    def board(self, uid: str) -> Json | None:
        found = self._found(lambda: self._api.dashboard.get_dashboard(uid))
        return None if found is None else found.get("dashboard")

    def group(self, name: str) -> Json | None:
        uid = provisioning.FOLDER_UID
        return self._found(lambda: self._api.alertingprovisioning.get_rule_group(uid, name))

    def devices(self, datasource_uid: str) -> int:
        """Ask the collector through Grafana how many devices there are."""
        query = {
            "refId": "A",
            "datasource": {"type": DATASOURCE_TYPE, "uid": datasource_uid},
            "editorType": "sql",
            "queryType": "table",
            "format": 1,
            "rawSql": "SELECT count() AS devices FROM v_device",
        }
        body = {"queries": [query], "from": "now-5m", "to": "now"}
        with self._ours():
            said = self._api.client.POST("/ds/query", json=body)
        answer = said["results"]["A"]
        if answer.get("error"):
            raise Permanent(str(answer["error"]))
        return int(answer["frames"][0]["data"]["values"][0][0])

    def put_folder(self) -> None:
        with self._ours():
            self._api.folder.create_folder(provisioning.FOLDER, provisioning.FOLDER_UID)

    def put_datasource(self, source: Json, *, is_there: bool) -> None:
        with self._ours():
            if is_there:
                self._api.datasource.update_datasource_by_uid(source["uid"], source)
            else:
                self._api.datasource.create_datasource(source)

    def put_board(self, board: Json) -> None:
        body = {
            "dashboard": {**board, "id": None},
            "folderUid": provisioning.FOLDER_UID,
            "overwrite": True,
            "message": "wattshed dashboards push",
        }
        with self._ours():
            self._api.dashboard.update_dashboard(body)

    def put_group(self, name: str, group: Json, *, editable: bool) -> None:
        """Replace a group of rules; with ``editable`` people may change it in Grafana."""
        with self._ours():
            self._api.alertingprovisioning.update_rule_group(
                provisioning.FOLDER_UID, name, group, disable_provenance=editable
            )

    def _found(self, ask: Callable[[], Any]) -> Json | None:
        with self._ours():
            try:
                found: Json = ask()
            except GrafanaClientError as error:
                if error.status_code == NOT_FOUND:
                    return None
                raise
            return found

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except GrafanaClientError as error:
            if error.status_code in FORBIDDEN:
                raise Denied(
                    f"{self._url} refuses the token ({error.status_code}): it wants a service "
                    "account with the role Editor, for the data source Admin"
                ) from error
            raise Permanent(f"{self._url}: {error.message}") from error
        except GrafanaException as error:
            raise Retryable(f"{self._url}: {error.message or 'no answer in time'}") from error
        except niquests.exceptions.RequestException as error:
            raise Retryable(f"{self._url} cannot be reached: {error}") from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Permanent(f"{self._url} does not answer like a Grafana: {error!r}") from error
