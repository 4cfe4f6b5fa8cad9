"""Questions to a container engine over its unix socket, and no more of HTTP than that takes.

Docker and Podman answer the same questions. A connection is opened for each; the engine is on this
machine. Source: Docker Engine API, ``ContainerList`` and ``ContainerInspect``.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.outputs.plain_http import Answer, read_answer

TIMEOUT_SECONDS = 4.0
MOST_BYTES = 16 << 20
"""A container takes about 1 kB in the list and 8 kB when it is inspected."""


class DockerApi:
    """Asks the engine behind one socket; it only ever reads."""

    def __init__(self, path: Path, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds

    def get(self, target: str) -> object:
        """Return what is at a path, parsed from JSON.

        Raises:
            NoData: there is no socket.
            SourceError: ``permission``, ``unreachable``, ``timeout``, ``vanished`` (404),
                ``http_error`` or ``malformed``.
        """
        answer = self._ask(target)
        if answer.status == 404:
            raise SourceError(f"{self._path}: {target} does not exist", "vanished")
        if answer.status != 200:
            raise SourceError(f"{self._path}: {target}: status {answer.status}", "http_error")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._path}: {target} is not JSON", "malformed") from error

    def _ask(self, target: str) -> Answer:
        head = f"GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout_seconds)
                connection.connect(str(self._path))
                connection.sendall(head.encode("latin-1"))
                with connection.makefile("rb") as lines:
                    return read_answer(lines, MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoData(
                f"{self._path} does not exist: no container engine answers here"
            ) from error
        except OSError as error:
            raise SourceError(f"{self._path}: {error}", _reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission"
    return "timeout" if isinstance(error, TimeoutError) else "unreachable"
