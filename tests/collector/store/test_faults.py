"""What the driver says of a server that is not reached, in a sentence."""

from __future__ import annotations

import socket

import pytest
import urllib3

from wattshed_collector.store.faults import said


def unreached(url: str) -> Exception:
    """Return the driver's kind of error: what urllib3 raised is its cause."""
    with urllib3.PoolManager(retries=0) as pool, pytest.raises(urllib3.exceptions.HTTPError) as why:
        pool.request("GET", url)
    error = RuntimeError(f"Error {why.value} executing HTTP request attempt 1 ({url})")
    error.__cause__ = why.value
    return error


def test_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert said(unreached(f"http://127.0.0.1:{port}")) == "it is not reached: Connection refused"


def test_a_host_that_there_is_not() -> None:
    text = said(unreached("http://nowhere.invalid:8123"))
    assert text.startswith("it is not reached: ")
    assert "object at" not in text
    assert "Max retries" not in text


def test_anything_else_stays_as_it_is_said() -> None:
    assert said(RuntimeError("Code: 60. no table")) == "Code: 60. no table"
    cut = RuntimeError("cut")
    cut.__cause__ = urllib3.exceptions.ProtocolError("broken")
    assert said(cut) == "cut"
