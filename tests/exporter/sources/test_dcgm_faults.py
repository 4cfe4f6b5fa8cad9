"""A dcgm-exporter that is absent, refuses, hangs, goes away or talks nonsense."""

from __future__ import annotations

import math
import socket
import time
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.dcgm import NOW_MS, B, Exporter, energy, power, reason, row, source
from tests.fixtures.web import serving, trickle

from wattshed_exporter.config import Config
from wattshed_exporter.config import Dcgm as DcgmOptions
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.sources.dcgm import URL, Dcgm, create
from wattshed_exporter.sources.dcgm_page import BLANKS, FIELDS, boards


def test_gpu_that_vanishes_and_comes_back(exporter: Exporter) -> None:
    reader = source(exporter)
    exporter.say(power(5) + power(6, B))
    reader.discover()
    exporter.say(power(6, B))
    assert [reading.gap for reading in reader.read().readings] == ["vanished", ""]
    exporter.say("# dcgm-exporter has just started\n")
    with pytest.raises(SourceError) as caught:
        reader.read()
    assert caught.value.reason == "vanished"
    exporter.say(power(5) + power(6, B))
    assert [reading.power_watts for reading in reader.read().readings] == [5.0, 6.0]
    exporter.say(power(5) + power(6, B) + power(7, "GPU-cccc"))
    with pytest.raises(DevicesChanged, match="GPU-cccc"):
        reader.read()


def test_exporter_that_goes_away_and_comes_back() -> None:
    exporter = Exporter()
    with serving(exporter):
        exporter.say(power(5))
        reader = source(exporter)
        reader.discover()
        port = exporter.server_address[1]
    with pytest.raises(SourceError) as caught:
        reader.read()
    assert caught.value.reason == "unreachable"
    exporter = Exporter(port)
    with serving(exporter):
        exporter.say(power(6))
        assert reader.read().readings[0].power_watts == 6.0


@pytest.mark.parametrize("url", ["ftp://h/", "nonsense", "http://", "http://h:99999/", "http://["])
def test_bad_url_is_unreachable(url: str) -> None:
    assert reason(url) == "unreachable"


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert reason(f"http://127.0.0.1:{port}/metrics") == "unreachable"


def test_permission_denied(exporter: Exporter) -> None:
    exporter.say(403)
    assert reason(exporter.page) == "http_error"


def test_exporter_that_hangs(exporter: Exporter) -> None:
    exporter.hang.clear()
    began = time.monotonic()
    assert reason(exporter.page) == "timeout"
    assert time.monotonic() - began < 5


def test_exporter_that_drips(exporter: Exporter) -> None:
    exporter.say(trickle)
    assert reason(exporter.page) == "timeout"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n",
        b'{"status": "success"}',
        b"\x00\xff\xfe\x80 garbage\n\x01",
        b"it works\n",
        b'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a" 5\n',
    ],
)
def test_garbage_is_malformed(exporter: Exporter, page: bytes) -> None:
    exporter.say(page)
    assert reason(exporter.page) == "malformed"


def test_not_http_is_malformed(exporter: Exporter) -> None:
    exporter.say(lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"))
    assert reason(exporter.page) == "malformed"


def test_page_that_breaks_off_is_malformed(exporter: Exporter) -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(energy(128996013).encode()[:-5])

    exporter.say(break_off)
    assert reason(exporter.page) == "malformed"


@pytest.mark.parametrize("page", ["", "# HELP only\n", "\n\n", "go_goroutines 12\n"])
def test_page_without_gpus_has_no_data(exporter: Exporter, page: str) -> None:
    exporter.say(page)
    with pytest.raises(NoData):
        source(exporter).discover()


def test_broken_line_costs_that_line_alone() -> None:
    page = 'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-b\n' + power("5 W x") + power("6", B)
    assert list(boards(page)) == [B]


def test_no_url_is_no_data() -> None:
    with pytest.raises(NoData, match=r"dcgm\.url"):
        Dcgm(Config(node="node1"), "").discover()


def test_create_takes_the_url_of_the_configuration() -> None:
    made = create(Config(dcgm=DcgmOptions(url="http://dcgm:9400/metrics")))
    assert (made.name, made._url) == ("dcgm", "http://dcgm:9400/metrics")
    assert create(Config())._url == URL


@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.builds(
                lambda name, rest: f"{name}{rest}",
                st.sampled_from(sorted(FIELDS)),
                st.text('{}",=\\ \t#U09.e-+INa_', max_size=40),
            ),
            st.builds(
                lambda name, value, instance: row(name, value, GPU_I_ID=instance),
                st.sampled_from(sorted(FIELDS)),
                st.one_of(st.floats(), st.integers(), st.sampled_from(sorted(BLANKS))),
                st.sampled_from(["", "1", "2"]),
            ),
        ),
        max_size=12,
    ).map("\n".join)
)
def test_any_text_gives_readings_that_can_be(text: str) -> None:
    try:
        found = boards(text)
    except SourceError:
        return
    reader = Dcgm(Config(node="node1"))
    for key, board in found.items():
        reader._device(key, board, True)
        reading = reader._reading(key, board, NOW_MS)
        assert reading is not None
        values = (reading.power_watts, reading.energy_uj, reading.memory_used_bytes)
        assert all(v is None or (math.isfinite(v) and 0 <= v < 2**63) for v in values)
        assert reading.utilization_ratio is None or 0 <= reading.utilization_ratio <= 1
        assert reading.gap or reading.power_watts is not None or reading.energy_uj is not None
