"""The DCGM source against pages served over HTTP, some recorded and some written here."""

from __future__ import annotations

import csv
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from wattshed_exporter.config import Config
from wattshed_exporter.config import Dcgm as DcgmOptions
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Kind, Method, Reading
from wattshed_exporter.sources import dcgm
from wattshed_exporter.sources.dcgm import BLANKS, FIELDS, URL, Dcgm, boards, create
from wattshed_exporter.sources.exposition import MOST_BYTES, fetch, rows

NOW_MS = 1_700_000_000_123
A, B = "GPU-aaaa", "GPU-bbbb"
T4 = "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
MIG_BOARD = """\
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 52.636
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 52.746
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 1000
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 1003
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3",pod="p"} 100
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3",pod="q"} 100
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 11
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 0.25
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 0.5
"""


def row(name: str, value: object, uuid: str = A, **labels: str) -> str:
    told = "".join(f',{key}="{text}"' for key, text in labels.items())
    return f'{name}{{gpu="0",UUID="{uuid}"{told}}} {value}\n'


def power(value: object, uuid: str = A, **labels: str) -> str:
    return row("DCGM_FI_DEV_POWER_USAGE", value, uuid, **labels)


def energy(value: object, uuid: str = A, **labels: str) -> str:
    return row("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", value, uuid, **labels)


class Exporter(ThreadingHTTPServer):
    """Stands in for dcgm-exporter: answers with ``page``, or as ``answer`` does."""

    daemon_threads = True
    page: bytes = b""
    status = 200
    answer: Callable[[BaseHTTPRequestHandler], object] | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave in the middle are part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/metrics"

    def say(self, text: str) -> None:
        self.page = text.encode()


class Handler(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        if self.server.answer is not None:
            self.server.answer(self)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(port: int = 0) -> Iterator[Exporter]:
    with Exporter(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with serving() as server:
        yield server


def source(exporter: Exporter, clock: Callable[[], int] = lambda: NOW_MS * 1_000_000) -> Dcgm:
    config = Config(node="node1", site="here")
    return Dcgm(config, exporter.url, timeout_seconds=2.0, clock=clock)


def read_one(page: str) -> Reading:
    with serving() as server:
        server.say(page)
        reader = source(server)
        reader.discover()
        (reading,) = reader.read().readings
        return reading


def reason(url: str) -> str:
    with pytest.raises(SourceError) as caught:
        Dcgm(Config(node="node1"), url, timeout_seconds=0.3).discover()
    assert not isinstance(caught.value, NoData)
    return caught.value.reason


def test_recorded_page_of_two_hosts(exporter: Exporter, data: Path) -> None:
    page = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    exporter.page = page.read_bytes()
    assert not exporter.page.endswith(b"\n")
    assert b"\n# NOTE " in exporter.page
    reader = source(exporter)
    (device,) = reader.discover()
    assert (device.key, device.kind, device.vendor) == (T4, Kind.GPU, "NVIDIA")
    assert (device.name, device.model, device.node) == ("gpu0", "Tesla T4", "node1")
    assert (device.source, device.site, device.scope) == ("dcgm", "here", "gpu")
    assert (device.method, device.uncertainty_ratio) == (Method.COUNTER, 0.05)
    assert reader.read().readings == [
        Reading(
            T4,
            NOW_MS,
            power_watts=8.969,
            energy_uj=128_996_013_000,
            utilization_ratio=0.0,
            memory_used_bytes=0,
            temperature_celsius=25.0,
        )
    ]


def test_recorded_second_host_has_a_limit_but_no_meter(data: Path) -> None:
    page = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    found = boards(page.read_text())
    other = found["GPU-9ef1b6d0-3643-5dd7-b823-c0ec20dcf2d5"]
    assert (found[T4].host, other.host) == ("424773df46e0", "551bdf382151")
    assert (found[T4].metered, other.metered) == (True, False)
    assert other.value(dcgm.LIMIT) == 70
    assert other.labels["DCGM_FI_DEV_SERIAL"] == "1565220008176"


@pytest.mark.parametrize("file", ["plain", "kubernetes"])
def test_recorded_rows_with_spaces_and_blanks(data: Path, file: str) -> None:
    text = (data / f"recordings/dcgm-exporter/readme_blank-sentinel/{file}.txt").read_text()
    clock, _, blank = rows(text, text)
    assert clock.value == 139
    assert clock.labels["UUID"] == "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
    assert clock.labels.get("pod", "") == ""
    assert blank.value == 9223372036854775794
    assert blank.value in BLANKS


def test_recorded_mig_rows_are_not_added(exporter: Exporter, data: Path) -> None:
    figures = data / "recordings/dcgm-exporter/a30_mig_figures/power_rows.csv"
    with figures.open(newline="") as file:
        for told in csv.DictReader(file):
            exporter.page += power(
                told["power_usage_w"], f"GPU-{told['gpu']}", GPU_I_ID=told["GPU_I_ID"]
            ).encode()
    reader = source(exporter)
    assert [device.key for device in reader.discover()] == ["GPU-0", "GPU-1"]
    assert [reading.power_watts for reading in reader.read().readings] == [52.746, 56.127]


@pytest.mark.parametrize("file", ["default-counters", "dcp-metrics-included", "1.x-compatibility"])
def test_recorded_defaults_name_what_is_read(data: Path, file: str) -> None:
    folder = data / "recordings/dcgm-exporter/counters"
    lines = next(folder.glob(f"{file}*.csv")).read_text().splitlines()
    names = {line.partition(",")[0].strip(" #") for line in lines}
    found = {FIELDS[name].name for name in names & FIELDS.keys()}
    assert found >= {"energy_mj", "power_watts", "gpu_percent", "used_mib", "celsius"}


def test_recorded_page_of_another_exporter_has_no_data(exporter: Exporter, data: Path) -> None:
    page = data / "recordings/amd-device-metrics-exporter/metricutil/metrics_mini.txt"
    exporter.page = page.read_bytes()
    with pytest.raises(NoData, match="neither power nor energy"):
        source(exporter).discover()
    usual, average = rows(page.read_text(), ("gpu_power_usage", "gpu_average_package_power"))
    assert usual.value == average.value == 41
    assert usual.labels["SERIAL_NUMBER"] == "692247001282"


def test_recorded_pages_read_as_the_usual_parser_reads_them(data: Path) -> None:
    for page in (
        "dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt",
        "dcgm-exporter/readme_blank-sentinel/kubernetes.txt",
        "nvidia-gpu-exporter/metrics",
    ):
        path = data / "recordings" / page
        for file in [path] if path.is_file() else sorted(path.iterdir())[:2]:
            assert_same(file.read_text())


def assert_same(text: str) -> None:
    families = text_string_to_metric_families(text)
    usual = [(s.labels, float(s.value)) for family in families for s in family.samples]
    mine = [(dict(r.labels), float(r.value)) for r in rows(text, _All())]
    assert mine == usual


class _All:
    def __contains__(self, name: object) -> bool:
        return True


def test_mig_rows_are_one_board() -> None:
    reading = read_one(MIG_BOARD)
    assert (reading.power_watts, reading.energy_uj) == (52.746, 1_003_000)
    assert reading.memory_used_bytes == 111 << 20
    assert reading.utilization_ratio == 0.5


def test_row_of_the_board_wins_over_its_instances() -> None:
    page = power(50, GPU_I_ID="") + energy(990) + row("DCGM_FI_DEV_FB_USED", 7) + MIG_BOARD
    reading = read_one(page)
    assert (reading.power_watts, reading.energy_uj) == (50.0, 990_000)
    assert reading.memory_used_bytes == 7 << 20


@pytest.mark.parametrize(
    ("page", "ratio"),
    [
        (row("DCGM_FI_DEV_GPU_UTIL", 40), 0.4),
        (row("DCGM_FI_DEV_GPU_UTIL", 99) + row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0), 0.99),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + row("DCGM_FI_PROF_SM_ACTIVE", 0.7), 0.7),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + row("DCGM_FI_PROF_SM_ACTIVE", 1.2), 0.0),
        (row("DCGM_FI_DEV_GPU_UTIL", 0, GPU_I_ID="3"), None),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + power(5, GPU_I_ID="3"), None),
        (row("DCGM_FI_DEV_GPU_UTIL", 101), None),
        ("", None),
    ],
)
def test_utilization_is_the_largest_signal_that_can_be_meant(page: str, ratio: object) -> None:
    assert read_one(power(5) + page).utilization_ratio == ratio


@pytest.mark.parametrize("blank", [*sorted(BLANKS), "NaN", "+Inf", "-1", "9.223372036854776e18"])
def test_blank_values_are_none(blank: object) -> None:
    page = power(5) + "".join(
        row(name, blank)
        for name in FIELDS
        if name.startswith("DCGM") and name != "DCGM_FI_DEV_POWER_USAGE"
    )
    assert read_one(page) == Reading(A, NOW_MS, power_watts=5.0)


def test_blank_meters_are_no_device(exporter: Exporter) -> None:
    exporter.say(power(2147483632) + energy(9223372036854775794) + power(7, B))
    reader = source(exporter)
    assert [device.key for device in reader.discover()] == [B]
    exporter.say(power(6) + power(7, B))
    with pytest.raises(DevicesChanged, match=A):
        reader.read()
    assert len(reader.discover()) == 2
    exporter.say(power(140737488355328) + power(7, B))
    assert [reading.gap for reading in reader.read().readings] == ["not_supported", ""]


def test_old_names_and_labels() -> None:
    page = "dcgm_power_usage{gpu='0'} 9\n" + "".join(
        f'{name}{{gpu="1",uuid="{A}"}} {value}\n'
        for name, value in (
            ("dcgm_power_usage", 31.5),
            ("dcgm_total_energy_consumption", 12),
            ("dcgm_gpu_utilization", 50),
            ("dcgm_fb_used", 2),
            ("dcgm_gpu_temp", 40),
        )
    )
    assert read_one(page) == Reading(A, NOW_MS, 31.5, 12_000, None, 0.5, 2 << 20, 40.0)


def test_hosts_name_the_node_only_where_there_are_several(exporter: Exporter) -> None:
    exporter.say(power(1, Hostname="h1", modelName="T4", DCGM_FI_DEV_SERIAL="7"))
    (device,) = source(exporter).discover()
    assert (device.node, device.model, device.serial) == ("node1", "T4", "7")
    exporter.say(power(1, Hostname="h1") + power(2, B, hostname="h2"))
    assert [device.node for device in source(exporter).discover()] == ["h1", "h2"]


def test_limit_and_integral(exporter: Exporter) -> None:
    exporter.say(power(1) + row("DCGM_FI_DEV_POWER_MGMT_LIMIT", 70.0))
    (device,) = source(exporter).discover()
    assert (device.power_limit_watts, device.method) == (70.0, Method.INTEGRAL)


def test_rows_without_a_board_are_left_out(exporter: Exporter) -> None:
    exporter.say(
        'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 1\n' + power(2, "MIG-cccc") + power(3, "") + power(4, B)
    )
    assert [device.key for device in source(exporter).discover()] == [B]


def test_counter_that_stands_still_is_no_reading(exporter: Exporter) -> None:
    now_ms = NOW_MS
    reader = source(exporter, clock=lambda: now_ms * 1_000_000)
    exporter.say(power(5) + energy(10) + power(6, B))
    reader.discover()
    assert [reading.device for reading in reader.read().readings] == [A, B]
    now_ms += 120_000
    assert [reading.device for reading in reader.read().readings] == [B]
    now_ms += 1
    assert [reading.gap for reading in reader.read().readings] == ["stale", ""]
    exporter.say(power(5) + energy(11) + power(6, B))
    assert reader.read().readings[0].energy_uj == 11_000
    exporter.say(power(5) + energy(1) + power(6, B))
    assert reader.read().readings[0].energy_uj == 1_000


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
    with serving() as exporter:
        exporter.say(power(5))
        reader = source(exporter)
        reader.discover()
        port = exporter.server_address[1]
    with pytest.raises(SourceError) as caught:
        reader.read()
    assert caught.value.reason == "unreachable"
    with serving(port) as exporter:
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
    exporter.status = 403
    assert reason(exporter.url) == "http_error"


def test_exporter_that_hangs(exporter: Exporter) -> None:
    released = threading.Event()
    exporter.answer = lambda handler: released.wait(10)
    began = time.monotonic()
    try:
        assert reason(exporter.url) == "timeout"
    finally:
        released.set()
    assert time.monotonic() - began < 5


def test_exporter_that_drips(exporter: Exporter) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"# \n")
            time.sleep(0.05)

    exporter.answer = drip
    assert reason(exporter.url) == "timeout"


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
    exporter.page = page
    assert reason(exporter.url) == "malformed"


def test_not_http_is_malformed(exporter: Exporter) -> None:
    exporter.answer = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    assert reason(exporter.url) == "malformed"


def test_page_that_breaks_off_is_malformed(exporter: Exporter) -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(energy(128996013).encode()[:-5])

    exporter.answer = break_off
    assert reason(exporter.url) == "malformed"


def test_page_without_end_is_too_large(exporter: Exporter) -> None:
    exporter.page = b"# " + b"x" * MOST_BYTES
    with pytest.raises(SourceError) as caught:
        fetch(exporter.url, 10.0)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("page", ["", "# HELP only\n", "\n\n", "go_goroutines 12\n"])
def test_page_without_gpus_has_no_data(exporter: Exporter, page: str) -> None:
    exporter.say(page)
    with pytest.raises(NoData):
        source(exporter).discover()


def test_broken_line_costs_that_line_alone() -> None:
    page = 'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-b\n' + power("5 W x") + power("6", B)
    assert list(boards(page)) == [B]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("m 5", 5),
        ("m{} 5", 5),
        ('m { a = "b" , } 5.5 1700000000000', 5.5),
        ("m\t1e3\r", 1000.0),
        ("m 9007199254740993", 9007199254740993),
        ("m 1_0", None),
        ("m ٣", None),
        ("m-5", None),
        ("m", None),
        ('m{a="b"} 1 2 3', None),
        ("n 5", None),
    ],
)
def test_rows(line: str, value: int | float | None) -> None:
    assert [row.value for row in rows(f"ok 1\n{line}\n", ("m",))] == (
        [] if value is None else [value]
    )


def test_escapes_in_labels() -> None:
    (found,) = rows(r'm{a="say \"}, {\" \\ \n \x",b=""} 1', ("m",))
    assert found.labels == {"a": 'say "}, {" \\ \n \\x', "b": ""}


def test_no_url_is_no_data() -> None:
    with pytest.raises(NoData, match=r"dcgm\.url"):
        Dcgm(Config(node="node1"), "").discover()


def test_create_takes_the_url_of_the_configuration() -> None:
    made = create(Config(dcgm=DcgmOptions(url="http://dcgm:9400/metrics")))
    assert (made.name, made._url) == ("dcgm", "http://dcgm:9400/metrics")
    assert create(Config())._url == URL


def test_close_may_be_repeated(exporter: Exporter) -> None:
    exporter.say(power(5))
    reader = source(exporter)
    reader.close()
    reader.discover()
    reader.close()
    reader.close()
    with pytest.raises(DevicesChanged):
        reader.read()
    assert len(reader.discover()) == 1


@pytest.mark.parametrize(("configured", "used"), [(1.0, 5.0), (60.0, 60.0)])
def test_interval(configured: float, used: float) -> None:
    assert Dcgm(Config(node="node1", interval_seconds=configured)).interval_seconds == used


LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(
        lambda name: not name.startswith("__")
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12),
    min_size=1,
    max_size=4,
)
QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"'})
NUMBERS = st.one_of(st.integers(0, 2**64), st.floats(0, 1e18))


@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), LABELS, NUMBERS), max_size=5))
def test_any_page_reads_as_the_usual_parser_reads_it(
    samples: list[tuple[str, dict[str, str], int | float]],
) -> None:
    text = ""
    for name, labels, value in samples:
        quoted = {key: said.translate(QUOTED) for key, said in labels.items()}
        told = ",".join(f'{key}="{said}"' for key, said in quoted.items())
        text += f"{name}{{{told}}} {value}\n"
    assert_same(text)


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


def test_a_long_line_takes_no_long_time() -> None:
    began = time.monotonic()
    for filler in ("\\", '"', "{", ",", " ", "a", 'a="', "=", '\\"'):
        text = f'DCGM_FI_DEV_POWER_USAGE{{UUID="{filler * 200_000}'
        with pytest.raises(SourceError):
            rows(text, FIELDS)
    assert time.monotonic() - began < 5
