"""The Redfish source against real HTTP servers that hold recordings or documented formats."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources import redfish
from wattshed_exporter.sources.http_json import Counter, HttpJson, parse
from wattshed_exporter.sources.redfish import Redfish, create, environment

NOW_MS = 1_700_000_000_123
SECRET = "s3cret-Pa55word"
HOUR_UJ = 3_600_000_000_000
ROOT, ALL = "/redfish/v1/", "/redfish/v1/Chassis"
ONE, ENV, POWER = f"{ALL}/1", f"{ALL}/1/EnvironmentMetrics", f"{ALL}/1/Power"


class Bmc(ThreadingHTTPServer):
    """A management controller that holds ``resources``: an object, bytes, or an HTTP status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources: dict[str, Any] = {}
        self.authorization = ""
        self.asked: list[str] = []
        self.peers: set[Any] = set()
        self.hang = threading.Event()
        self.hang.set()
        self.close_idle = False
        self.headers: dict[str, str] = {}

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.server_address[1]}"

    def hold(self, *chassis: str, **resources: object) -> None:
        """Hold a service of these chassis, and the resources named by path."""
        members = [{"@odata.id": path} for path in chassis]
        self.resources[ROOT] = {"Chassis": {"@odata.id": ALL}}
        self.resources[ALL] = {"Members": members, "Members@odata.count": len(members)}
        self.resources.update(resources)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bmc
    timeout = 5
    wbufsize = -1

    def do_GET(self) -> None:
        bmc = self.server
        bmc.asked.append(self.path)
        bmc.peers.add(self.client_address)
        bmc.hang.wait(5)
        answer = bmc.resources.get(self.path, 404)
        if bmc.authorization not in ("", self.headers.get("Authorization")):
            answer = 401
        status = answer if isinstance(answer, int) else 200
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with suppress(OSError):
            self.send_response(status)
            for name, value in bmc.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection |= bmc.close_idle

    def log_message(self, *_: object) -> None:
        pass


def serve(server: Bmc) -> Iterator[Bmc]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.hang.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bmc() -> Iterator[Bmc]:
    yield from serve(Bmc())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl binary to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "bmc.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    command += f" -subj /CN=bmc -addext subjectAltName=IP:127.0.0.1 -out {path}"
    subprocess.run(
        [*command.split(), "-keyout", str(path.with_suffix(".key"))],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def tls_bmc(certificate: Path) -> Iterator[Bmc]:
    server = Bmc()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from serve(server)


Make = Callable[..., Redfish]


@pytest.fixture
def make() -> Iterator[Make]:
    """Build sources that read anew every time and are closed at the end."""
    with ExitStack() as stack:

        def build(url: str, **options: Any) -> Redfish:
            options = {"cache_seconds": 0.0, "timeout_seconds": 2.0, **options}
            source = Redfish(Config(node="n1", site="here"), url, clock=clock, **options)
            stack.callback(source.close)
            return source

        yield build


def clock() -> int:
    return NOW_MS * 1_000_000


def watts(source: Redfish) -> list[float | None]:
    return [reading.power_watts for reading in source.read().readings]


def only(source: Redfish) -> Reading:
    (reading,) = source.read().readings
    return reading


def hold_power(bmc: Bmc, power: object) -> None:
    bmc.hold(ONE, **{ONE: {"Power": {"@odata.id": POWER}}, POWER: power})


def hold_environment(bmc: Bmc, metrics: object) -> None:
    bmc.hold(ONE, **{ONE: {"EnvironmentMetrics": {"@odata.id": ENV}}, ENV: metrics})


def energy(reading: object, **more: object) -> dict[str, object]:
    return {"PowerWatts": {"Reading": 500}, "EnergykWh": {"Reading": reading, **more}}


# Recordings


@pytest.fixture
def recorded(data: Path) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        return json.loads((data / "recordings/redfish" / name).read_text())

    return read


Recorded = Callable[[str], Any]
DELL, DELL_POWER = f"{ALL}/System.Embedded.1", f"{ALL}/System.Embedded.1/Power"


def hold_dell(bmc: Bmc, recorded: Recorded) -> Any:
    """Hold the recorded iDRAC; return its power resource."""
    folder = "dell_idrac_telegraf"
    bmc.hold(DELL)
    bmc.resources[ROOT] = recorded(f"{folder}/base.json")
    bmc.resources[f"{ALL}/"] = bmc.resources.pop(ALL)
    bmc.resources[DELL] = recorded(f"{folder}/dell_chassis.json")
    power = bmc.resources[DELL_POWER] = recorded(f"{folder}/dell_power.json")
    return power


def test_idrac(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    hold_dell(bmc, recorded)
    source = make(bmc.url())
    (device,) = source.discover()
    assert device == Device(
        key="n1/redfish/System.Embedded.1",
        kind=Kind.HOST,
        node="n1",
        source="redfish",
        name="System.Embedded.1",
        vendor="Dell Inc.",
        model="PowerEdge R640",
        serial="CNIVC007CV0803",
        site="here",
        scope="chassis",
        method=Method.INTEGRAL,
        overlap=Overlap.OUTER,
    )
    assert only(source) == Reading(device.key, NOW_MS, power_watts=429.0)


def test_idrac_over_its_limit_is_believed(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    hold_dell(bmc, recorded)
    source = make(bmc.url())
    (device,) = source.discover()
    tick = Meter(device, 10_000).feed(only(source))
    assert tick is not None
    assert (tick.power_watts, tick.gap) == (429.0, "")


def test_idrac_rating_is_no_reading(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    hold_dell(bmc, recorded)["PowerControl"] = []
    with pytest.raises(NoData, match="has a power reading"):
        make(bmc.url()).discover()


@pytest.mark.parametrize("name", ["dell_power", "dell_chassis"])
def test_idrac_broken(bmc: Bmc, make: Make, recorded: Recorded, data: Path, name: str) -> None:
    hold_dell(bmc, recorded)
    path = DELL_POWER if name == "dell_power" else DELL
    whole = bmc.resources[path]
    broken = data / f"recordings/redfish/dell_idrac_telegraf/{name}invalid.json"
    bmc.resources[path] = broken.read_bytes()
    source = make(bmc.url())
    with pytest.raises(SourceError, match="is not JSON") as caught:
        source.discover()
    assert caught.value.reason == "malformed"
    bmc.resources[path] = whole
    source.discover()
    assert watts(source) == [429.0]
    bmc.resources[DELL_POWER] = broken.read_bytes()
    if name == "dell_power":
        assert only(source).gap == "malformed"


def test_ilo(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    folder = "hpe_ilo_telegraf"
    power = recorded(f"{folder}/hp_power.json")
    bmc.hold(ONE, **{ONE: recorded(f"{folder}/hp_chassis.json"), POWER: power})
    source = make(bmc.url())
    (device,) = source.discover()
    assert (device.vendor, device.model) == ("HP", "Proliant Gen10")
    assert watts(source) == [221.0], "neither the outputs of the supplies nor the average"
    del power["PowerControl"]
    with pytest.raises(NoData):
        make(bmc.url()).discover()


def hold_subsystem(bmc: Bmc, recorded: Recorded) -> tuple[Any, Any, Any]:
    """Hold the recorded PowerSubsystem; return its collection, its supply and the metrics."""
    folder, base = "hpe_ilo_telegraf", f"{ALL}/1/PowerSubsystem"
    bmc.hold(ONE, **{ONE: recorded(f"{folder}/hp_chassis_subsys.json")})
    supply = f"{base}/PowerSupplies/PowerSupply1"
    names = {
        base: "",
        f"{base}/PowerSupplies": "_psu",
        supply: "_psu_1",
        f"{supply}/Metrics": "_metrics",
    }
    for path, name in names.items():
        bmc.resources[path] = recorded(f"{folder}/power_subsys/hp_power_subsys{name}.json")
    _, collection, one, metrics = (bmc.resources[path] for path in names)
    return collection, one, metrics


def test_power_subsystem_as_recorded_is_not_believed(
    bmc: Bmc, make: Make, recorded: Recorded
) -> None:
    collection, supply, _ = hold_subsystem(bmc, recorded)
    with pytest.raises(NoData):
        make(bmc.url()).discover()
    collection["Members@odata.count"] = 1
    with pytest.raises(NoData):  # 937 W into a supply of 400 W
        make(bmc.url()).discover()
    supply["PowerCapacityWatts"], collection["Members@odata.count"] = 1000, 2
    with pytest.raises(NoData):  # one of two supplies is not listed
        make(bmc.url()).discover()
    collection["Members@odata.count"] = 1
    source = make(bmc.url())
    source.discover()
    assert watts(source) == [937.4]


def test_power_subsystem_of_two_supplies(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    collection, supply, metrics = hold_subsystem(bmc, recorded)
    second = f"{ALL}/1/PowerSubsystem/PowerSupplies/PowerSupply2"
    collection["Members"].append({"@odata.id": second})
    supply["PowerCapacityWatts"] = 1000
    bmc.resources[second] = {**supply, "Metrics": {"@odata.id": f"{second}/Metrics"}}
    bmc.resources[f"{second}/Metrics"] = {"InputPowerWatts": {"Reading": 0}}
    source = make(bmc.url())
    source.discover()
    assert watts(source) == [937.4], "a supply in standby takes nothing"
    metrics["InputPowerWatts"]["Reading"] = None
    assert only(source).gap == "no_reading", "the rest is not the whole"
    bmc.resources[second]["Status"] = {"State": "Absent"}
    metrics["InputPowerWatts"]["Reading"] = 100
    source.discover()
    assert watts(source) == [100.0]


def test_outputs_of_supplies_alone_are_no_reading(bmc: Bmc, make: Make, recorded: Recorded) -> None:
    folder, enclosure = "dmtf-style_sushy", f"{ALL}/MultiBladeEncl"
    bmc.resources[ROOT] = recorded(f"{folder}/root.json")
    bmc.resources[ALL] = recorded(f"{folder}/chassis_collection.json")
    bmc.resources[enclosure] = {"Power": {"@odata.id": f"{enclosure}/Power"}}
    bmc.resources[f"{enclosure}/Power"] = recorded(f"{folder}/power.json")
    for number in range(1, 5):
        bmc.resources[f"{ALL}/Blade{number}"] = recorded(f"{folder}/chassis.json")
    with pytest.raises(NoData):
        make(bmc.url()).discover()


def test_xcc_links_to_a_resource_that_was_not_recorded(
    bmc: Bmc, make: Make, recorded: Recorded
) -> None:
    folder, chassis = "sampleOut_redfish_exporter", f"{ALL}/1/"
    bmc.resources[ROOT] = recorded(f"{folder}/ServiceRoot.json")
    bmc.resources[f"{ALL}/"] = {"Members": [{"@odata.id": chassis}]}
    bmc.resources[chassis] = recorded(f"{folder}/chassis.json")
    source = make(bmc.url())
    with pytest.raises(SourceError, match="Power/ does not exist") as caught:
        source.discover()
    assert caught.value.reason == "vanished"
    bmc.resources[f"{chassis}Power/"] = {"PowerControl": [{"PowerConsumedWatts": 344}]}
    (device,) = source.discover()
    assert (device.key, device.vendor, watts(source)) == ("n1/redfish/1", "Lenovo", [344.0])


@pytest.mark.parametrize(
    "name",
    [
        "bmclib/smc_1.9.0_serviceroot.json",
        "bmclib/smc_1.14.0_serviceroot.json",
        "bmclib/serviceroot_no_manager.json",
        "bmclib/dell/serviceroot.json",
        "dell_sushy/root.json",
    ],
)
def test_recorded_service_roots(bmc: Bmc, make: Make, recorded: Recorded, name: str) -> None:
    hold_power(bmc, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    bmc.resources[ROOT] = recorded(name)
    source = make(f"{bmc.url()}/redfish/v1/")
    source.discover()
    assert watts(source) == [1.0]


# Documented formats


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ([{"PowerConsumedWatts": 344}, {"PowerConsumedWatts": 53}], 344.0),
        (
            [
                {"PhysicalContext": "CPU", "PowerConsumedWatts": 53},
                {"PhysicalContext": "Chassis", "PowerConsumedWatts": 344.5},
            ],
            344.5,
        ),
        ([{"PowerConsumedWatts": None}, {"PowerConsumedWatts": 53}], None),
        ([{"PowerConsumedWatts": 0, "PowerMetrics": {"AverageConsumedWatts": 5}}], None),
        ([{"PowerConsumedWatts": -3}], None),
        ([{"PowerConsumedWatts": "344"}], None),
        ([{"PowerConsumedWatts": True}], None),
        ([None, {"PowerConsumedWatts": 53}], None),
        ("garbage", None),
    ],
)
def test_power_control(bmc: Bmc, make: Make, control: object, expected: float | None) -> None:
    hold_power(bmc, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    source = make(bmc.url())
    source.discover()
    bmc.resources[POWER] = {"PowerControl": control}
    assert only(source) == Reading(
        "n1/redfish/1", NOW_MS, expected, gap="" if expected else "no_reading"
    )


def test_environment_metrics_come_first(bmc: Bmc, make: Make) -> None:
    hold_power(bmc, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    bmc.resources[ONE]["EnvironmentMetrics"] = {"@odata.id": ENV}
    source = make(bmc.url())
    assert source.discover()[0].method is Method.INTEGRAL, "although the link leads nowhere"
    assert watts(source) == [1.0]
    bmc.resources[ENV] = {"FanSpeedsPercent": []}
    source.discover()
    assert watts(source) == [1.0]
    bmc.resources[ENV] = energy(12.345, SensorResetTime="2023-01-01T01:00:00+01:00")
    assert source.discover()[0].method is Method.COUNTER
    assert only(source) == Reading(
        "n1/redfish/1", NOW_MS, 500.0, 44_442_000_000_000, 1_672_531_200_000
    )


@pytest.mark.parametrize(
    "moment",
    ["2023-01-01T00:00:00", "0001-01-01T00:00:00+00:00", "soon", 5, "2030-01-01T00:00:00Z"],
)
def test_a_reset_time_without_sense_is_none(bmc: Bmc, make: Make, moment: object) -> None:
    hold_environment(bmc, energy(12.345, SensorResetTime=moment))
    source = make(bmc.url())
    source.discover()
    reading = only(source)
    assert (reading.start_ms, reading.energy_uj) == (None, 44_442_000_000_000)


def test_joules_come_before_kilowatt_hours(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, {**energy(12), "EnergyJoules": {"Reading": 7}})
    source = make(bmc.url())
    source.discover()
    assert only(source).energy_uj == 7_000_000


def test_a_coarse_counter_gives_way_to_power(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(325675))
    source = make(bmc.url())
    assert source.discover()[0].method is Method.INTEGRAL
    assert (only(source).energy_uj, only(source).power_watts) == (None, 500.0)
    bmc.resources[ENV] = energy(325675.125)
    assert only(source).energy_uj == 325675125 * HOUR_UJ // 1000
    bmc.resources[ENV] = energy(325675.13)  # a last digit of zero is not written
    assert only(source).energy_uj == 325675130 * HOUR_UJ // 1000


def test_a_coarse_counter_alone_counts(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, {"EnergykWh": {"Reading": 325675}})
    source = make(bmc.url())
    assert source.discover()[0].method is Method.COUNTER
    assert only(source).energy_uj == 325675 * HOUR_UJ


def test_a_counter_that_falls_a_little_is_left_out(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(10.001))
    source = make(bmc.url())
    source.discover()
    seen = []
    for value in (10.001, 9.999, 10.002, 0.001, 0.002):
        bmc.resources[ENV] = energy(value)
        seen.append(only(source).energy_uj)
    assert [s and s * 1000 // HOUR_UJ for s in seen] == [10001, None, 10002, 1, 2]


def test_a_reset_that_is_dated_may_fall_a_little() -> None:
    counter = Counter()
    assert [counter.take(100, 1), counter.take(90, 1), counter.take(90, 2)] == [100, None, 90]
    assert counter.take(None, 2) is None


def test_parts_and_containers(bmc: Bmc, make: Make) -> None:
    paths = [f"{ALL}/{name}" for name in ("Enclosure", "Blade 1/", "HGX_GPU_SXM_1", "Blade 1")]
    bmc.hold(*paths)
    power = {"Power": {"@odata.id": POWER}, "Manufacturer": "\ud800 Odd\n"}
    bmc.resources[POWER] = {"PowerControl": [{"PowerConsumedWatts": 9}]}
    bmc.resources[paths[0]] = {**power, "Links": {"ContainedBy": {"@odata.id": f"{ALL}/Rack"}}}
    blade = {**power, "Links": {"ContainedBy": {"@odata.id": paths[0]}}}
    for path in (f"{ALL}/Blade%201", f"{ALL}/Blade%201/"):
        bmc.resources[path] = blade
    bmc.resources[paths[2]] = {**power, "ChassisType": "Component"}
    devices = make(bmc.url()).discover()
    assert [(d.key, d.parent, d.vendor) for d in devices] == [
        ("n1/redfish/Enclosure", "", "Odd"),
        ("n1/redfish/Blade 1", "n1/redfish/Enclosure", "Odd"),
    ]


def test_a_link_to_elsewhere_is_not_opened(bmc: Bmc, make: Make) -> None:
    hold_power(bmc, {})
    for path in (f"{bmc.url()}{ONE}", "//127.0.0.1/x", "redfish"):
        bmc.hold(path)
        with pytest.raises(SourceError, match="leads elsewhere"):
            make(bmc.url()).discover()
    assert ONE not in bmc.asked


# Connection, password, certificate


def test_one_connection_for_everything(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url())
    source.discover()
    for _ in range(3):
        assert watts(source) == [500.0]
    assert len(bmc.peers) == 1
    assert len(bmc.asked) == 4 + 3


def test_a_connection_that_was_closed_is_opened_again(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    bmc.close_idle = True
    source = make(bmc.url())
    source.discover()
    assert watts(source) == [500.0]
    assert len(bmc.peers) == 5


def test_a_connection_is_kept_only_where_asked(bmc: Bmc) -> None:
    bmc.resources["/x"] = {"a": 1.5}
    reader = HttpJson(bmc.url())
    assert [reader.get("/x"), reader.get("/x#fragment")] == [{"a": 1.5}] * 2
    assert len(bmc.peers) == 2


def test_answers_are_cached(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url(), cache_seconds=60.0)
    assert source.interval_seconds == 60.0
    source.discover()
    assert source.read() is source.read()
    assert bmc.asked.count(ENV) == 2
    source.discover()
    assert bmc.asked.count(ENV) == 3
    source.read()
    assert bmc.asked.count(ENV) == 4


def test_password(bmc: Bmc, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    hold_environment(bmc, energy(1))
    bmc.authorization = "Basic " + base64.b64encode(f"root:{SECRET}".encode()).decode()
    right = make(bmc.url(), username="root", password=SECRET)
    right.discover()
    assert watts(right) == [500.0]
    said = []
    for options in ({}, {"username": "root", "password": f"not-{SECRET}"}):
        with pytest.raises(SourceError) as caught:
            make(bmc.url(), **options).discover()
        assert caught.value.reason == "unauthorized"
        said.append(str(caught.value))
    assert said == [
        f"{bmc.url()} asks for a password",
        f"{bmc.url()} refuses the user name or the password",
    ]
    bmc.authorization = "Basic changed"
    with pytest.raises(SourceError, match="refuses"):
        right.read()
    assert "redfish.url is not https" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["https://root:s3cret@bmc", "root:s3cret@bmc", "bmc", "ftp://bmc", "http://[::1", "http://b:x"],
)
def test_malformed_url(make: Make, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        make(url).discover()
    assert caught.value.reason == "config"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "a b", "x" * 300])
def test_impossible_host(make: Make, host: str) -> None:
    with pytest.raises(SourceError) as caught:
        make(f"http://{host}").discover()
    assert caught.value.reason in ("config", "malformed", "unreachable")


def test_tls(tls_bmc: Bmc, make: Make, certificate: Path) -> None:
    hold_environment(tls_bmc, energy(1))
    source = make(tls_bmc.url("https"), ca_file=certificate)
    source.discover()
    assert watts(source) == [500.0]


def test_self_signed_certificate(tls_bmc: Bmc, make: Make, certificate: Path) -> None:
    hold_environment(tls_bmc, energy(1))
    for host, ca_file in (("127.0.0.1", None), ("localhost", certificate)):
        with pytest.raises(SourceError, match="its certificate is not trusted") as caught:
            make(tls_bmc.url("https", host), ca_file=ca_file).discover()
        assert caught.value.reason == "tls"
        assert "ca_file" in str(caught.value)
    assert not tls_bmc.asked, "no request before the certificate is verified"


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_ca_file_that_cannot_be_read(
    bmc: Bmc, make: Make, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceError, match=r"ca\.pem") as caught:
        make(bmc.url("https"), ca_file=file).discover()
    assert caught.value.reason == "config"


def test_https_to_a_port_that_speaks_http(bmc: Bmc, make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        make(bmc.url("https")).discover()
    assert caught.value.reason in ("tls", "unreachable", "timeout")


# Faults


def test_absent(make: Make) -> None:
    with pytest.raises(NoData, match=r"redfish\.url"):
        make("").discover()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        make(f"http://127.0.0.1:{port}").discover()
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "malformed"),
        (b"<html>", "malformed"),
        (b"[1]", "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": 1e9999999999999999999}', "malformed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"x" * (4 << 20) + b"x", "malformed"),
        (500, "http_error"),
        (503, "http_error"),
        (403, "unauthorized"),
        (404, "vanished"),
        (308, "redirect"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_garbage(bmc: Bmc, make: Make, answer: object, reason: str) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url())
    source.discover()
    bmc.resources[ROOT] = answer
    bmc.headers = {"Location": "https://elsewhere/"}
    with pytest.raises(SourceError) as caught:
        make(bmc.url()).discover()
    assert caught.value.reason == reason
    bmc.resources[ENV] = answer
    if reason == "unauthorized":
        with pytest.raises(SourceError):
            source.read()
    elif reason == "vanished":
        with pytest.raises(DevicesChanged):
            source.read()
    else:
        assert only(source).gap == reason
    bmc.resources[ENV] = energy(1)
    if reason != "vanished":
        assert watts(source) == [500.0]


def test_hang(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url(), timeout_seconds=0.2)
    source.discover()
    bmc.hang.clear()
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer within 0\.2 s") as caught:
        source.read()
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 2
    bmc.hang.set()
    assert watts(source) == [500.0]


def test_one_chassis_vanishes_and_returns(bmc: Bmc, make: Make) -> None:
    two, far = f"{ALL}/2", f"{ALL}/2/EnvironmentMetrics"
    hold_environment(bmc, energy(1))
    bmc.hold(ONE, two)
    bmc.resources.update({two: {"EnvironmentMetrics": {"@odata.id": far}}, far: energy(2)})
    source = make(bmc.url())
    source.discover()
    del bmc.resources[far]
    assert [r.gap for r in source.read().readings] == ["", "vanished"]
    bmc.resources[far] = energy(2)
    assert watts(source) == [500.0, 500.0]
    bmc.resources[two] = 500
    assert len(source.discover()) == 1, "one that fails leaves the others"


def test_all_vanish_and_return(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url())
    source.discover()
    bmc.hold()
    del bmc.resources[ENV]
    with pytest.raises(DevicesChanged):
        source.read()
    with pytest.raises(NoData):
        source.discover()
    with pytest.raises(DevicesChanged):
        source.read()
    bmc.resources[ROOT] = {}
    with pytest.raises(NoData, match="lists no chassis"):
        source.discover()
    hold_environment(bmc, energy(1))
    source.discover()
    assert watts(source) == [500.0]


def test_the_connection_is_lost(make: Make, bmc: Bmc) -> None:
    hold_environment(bmc, energy(1))
    bmc.close_idle = True
    source = make(bmc.url())
    source.discover()
    port = bmc.server_address[1]
    bmc.socket.close()
    with pytest.raises(SourceError) as caught:
        source.read()
    assert caught.value.reason == "unreachable"
    assert str(port) in str(caught.value)


def test_close_may_be_repeated(bmc: Bmc, make: Make) -> None:
    hold_environment(bmc, energy(1))
    source = make(bmc.url())
    source.close()
    source.discover()
    source.close()
    source.close()
    with pytest.raises(DevicesChanged):
        source.read()
    assert len(source.discover()) == 1


def test_create_opens_nothing() -> None:
    access = {"url": "https://192.0.2.1", "username": "root", "password": SECRET}
    section = SimpleNamespace(**access, ca_file=None, cache_seconds=20.0)
    config: Any = SimpleNamespace(interval_seconds=1.0, deadline_seconds=5.0, redfish=section)
    source = create(config)
    assert (source.name, source.interval_seconds) == ("redfish", 20.0)


# Whatever a foreign machine may say

NAMES = ["@odata.id", "Chassis", "Members", "EnvironmentMetrics", "Power", "PowerSubsystem"]
NAMES += ["PowerControl", "PowerConsumedWatts", "PowerWatts", "Reading", "EnergykWh", "Links"]
NAMES += ["EnergyJoules", "SensorResetTime", "PowerSupplies", "PowerInputWatts", "ContainedBy"]
NAMES += ["PowerCapacityWatts", "Metrics", "InputPowerWatts", "Status", "State", "ChassisType"]
NAMES += ["Manufacturer", "Members@odata.count"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LEAVES |= st.sampled_from(["/a", "/a/b", "//c", "Absent", "2023-01-01T00:00:00Z", 1e-5, 10**400])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


def believable(reading: Reading) -> bool:
    power, counter = reading.power_watts, reading.energy_uj
    assert power is None or 0 < power <= 10**14
    assert counter is None or 0 <= counter < 2**63
    return (power is None and counter is None) == bool(reading.gap)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=4))
def test_any_json(documents: list[dict[str, object]]) -> None:
    class Anything(HttpJson):
        """Answers every path with one of the documents."""

        asked = 0

        def get(self, path: str) -> dict[str, Any]:
            Anything.asked += 1
            body = json.dumps(documents[Anything.asked % len(documents)]).encode()
            return parse(body, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redfish, "HttpJson", Anything)
        source = Redfish(Config(node="n1"), "http://bmc", cache_seconds=0.0, clock=clock)
        try:
            devices = source.discover()
            readings = source.read().readings
        except SourceError:
            return
    assert len({device.id for device in devices}) == len(devices) == len(readings)
    assert all(map(believable, readings))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    with suppress(SourceError):
        environment([parse(body, "x")])


@pytest.fixture(scope="module")
def raw() -> Iterator[tuple[str, list[bytes]]]:
    """Serve the last of a list of bytes to every connection, whatever is asked."""
    answers = [b""]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                peer, _ = server.accept()
                with peer:
                    if not peer.recv(65536):
                        return
                    peer.sendall(answers[-1])

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", answers
        socket.create_connection(server.getsockname()).close()
        thread.join()


HEADS = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
HEADS += [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nX"]
HEADS += [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 -1\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 200]


@settings(max_examples=60, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=60))
def test_any_answer(raw: tuple[str, list[bytes]], head: bytes, rest: bytes) -> None:
    url, answers = raw
    answers.append(head + rest)
    reader = HttpJson(url, timeout_seconds=2.0, keep=True)
    try:
        with suppress(SourceError):
            reader.get("/x y\u20ac\r\n")
    finally:
        reader.close()
