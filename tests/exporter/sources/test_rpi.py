"""The Raspberry Pi source against a stand-in for the firmware.

The answer is the one that was published in issue 35 of leukipp/touchkio, typed in from there; the
frame around it follows ``vcgencmd`` and no frame was recorded from a board.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.rpi import PUBLISHED, Firmware
from tests.fixtures.sysfs import unprivileged

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading
from wattshed_exporter.sources import rpi
from wattshed_exporter.sources.rpi import Mailbox, Rpi, create, gencmd, parse_rails

NOW_MS = 1_700_000_000_123
KEY = "node1/rpi/pmic"
PUBLISHED_WATTS = 3.50704988
"""The sum of its twelve products, worked out with awk."""
UNKNOWN_COMMAND = 'error=1 error_msg="Command not registered"'


def source(firmware: Callable[[bytearray], None], sysfs: Path = Path("/nowhere")) -> Rpi:
    config = Config(node="node1", site="here", interval_seconds=2.0, roots=Roots(sysfs=sysfs))
    return Rpi(config, firmware, clock=lambda: NOW_MS * 1_000_000 + 999_999)


def test_published_answer(tmp_path: Path) -> None:
    model = tmp_path / "firmware/devicetree/base/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    firmware = Firmware()
    pi = source(firmware, tmp_path)
    assert pi.discover() == [
        Device(
            key=KEY,
            kind=Kind.BOARD,
            node="node1",
            source="rpi",
            name="pmic",
            vendor="Raspberry Pi",
            model="Raspberry Pi 5 Model B Rev 1.0",
            site="here",
            scope="pmic",
            method=Method.INTEGRAL,
        )
    ]
    (reading,) = pi.read().readings
    assert reading.power_watts == pytest.approx(PUBLISHED_WATTS, abs=1e-8)
    assert (reading.device, reading.ts_ms, reading.gap) == (KEY, NOW_MS, "")
    assert firmware.asked == [b"pmic_read_adc"] * 2
    assert len(PUBLISHED) < rpi.TEXT_BYTES


def test_only_rails_with_volts_and_amperes_count() -> None:
    watts = parse_rails(PUBLISHED)
    assert len(watts) == 12
    assert not {"EXT5V", "BATT"} & watts.keys()
    assert watts["VDD_CORE"] == pytest.approx(1.54489 * 0.8872518)
    assert watts["3V3_DAC"] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        PUBLISHED[:300],
        PUBLISHED[: PUBLISHED.index("HDMI_V")],
        PUBLISHED.replace("0.02941200A", "-0.02941200A"),
        PUBLISHED.replace("0.02941200A", "nanA"),
        PUBLISHED.replace("0.02941200A", "9e999A"),
        PUBLISHED.replace("0.02941200A", f"{'9' * 400}.0A"),
        PUBLISHED.replace("0.60549390V", "0.60549390A"),
        PUBLISHED.replace("3V3_SYS_A", "1V8_SYS_A"),
    ],
)
def test_malformed_answer_is_a_gap_and_passes(text: str) -> None:
    firmware = Firmware(text)
    with pytest.raises(SourceError) as caught:
        source(firmware).discover()
    assert (caught.value.reason, type(caught.value)) == ("malformed", SourceError)
    firmware.text = PUBLISHED
    pi = source(firmware)
    pi.discover()
    firmware.text = text
    assert pi.read().readings == [Reading(KEY, NOW_MS, gap="malformed")]
    firmware.text = PUBLISHED
    assert pi.read().readings[0].gap == ""


def test_a_rail_less_is_not_summed() -> None:
    firmware = Firmware()
    pi = source(firmware)
    pi.discover()
    firmware.text = "\n".join(line for line in PUBLISHED.splitlines() if "HDMI" not in line)
    assert pi.read().readings[0].gap == "malformed"


def test_firmware_that_does_not_know_the_command() -> None:
    firmware = Firmware(UNKNOWN_COMMAND, error=0xFFFFFFFF)
    with pytest.raises(NoData, match=r"does not know pmic_read_adc.*Command not registered"):
        source(firmware).discover()


@pytest.mark.parametrize(("status", "error"), [(0x80000001, 0), (0, 0), (0x80000000, 1)])
def test_firmware_that_fails(status: int, error: int) -> None:
    firmware = Firmware(error=error)
    firmware.status = status
    with pytest.raises(SourceError, match="answers with status") as caught:
        source(firmware).discover()
    assert caught.value.reason == "malformed"


def test_failures_leave_a_gap_and_pass() -> None:
    firmware = Firmware()
    pi = source(firmware)
    pi.discover()
    for reason in ("permission", "io_error"):
        firmware.failure = SourceError("no", reason)
        assert pi.read().readings == [Reading(KEY, NOW_MS, gap=reason)]
    firmware.failure = NoData("gone")
    with pytest.raises(DevicesChanged, match="gone"):
        pi.read()
    firmware.failure = None
    pi.discover()
    assert pi.read().readings[0].gap == ""


def test_create_opens_nothing() -> None:
    made = create(Config(node="node1", interval_seconds=2.0))
    assert (made.name, made.interval_seconds) == ("rpi", 2.0)


def test_no_mailbox_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="not a Raspberry Pi"):
        source(Mailbox([tmp_path / "vcio"])).discover()


def test_the_message_goes_through_the_first_mailbox(tmp_path: Path) -> None:
    seen: list[tuple[str, int, bool]] = []
    firmware = Firmware()

    def ioctl(fd: int, request: int, message: bytearray, mutate: bool) -> int:
        seen.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, request, mutate))
        firmware(message)
        return 0

    mailbox = Mailbox([tmp_path / "vcio_gencmd", tmp_path / "vcio"], ioctl)
    request = 0xC0006400 | struct.calcsize("P") << 16
    (tmp_path / "vcio").touch()
    before = len(os.listdir("/proc/self/fd"))
    assert gencmd(b"pmic_read_adc", mailbox) == PUBLISHED
    (tmp_path / "vcio_gencmd").touch()
    assert gencmd(b"pmic_read_adc", mailbox) == PUBLISHED
    assert seen == [("vcio", request, True), ("vcio_gencmd", request, True)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_device_that_is_no_mailbox(tmp_path: Path) -> None:
    (tmp_path / "vcio").touch()
    with pytest.raises(SourceError) as caught:
        source(Mailbox([tmp_path / "vcio"])).discover()
    assert (caught.value.reason, type(caught.value)) == ("io_error", SourceError)
    assert os.strerror(errno.ENOTTY) in str(caught.value)


def test_no_permission_says_what_to_do(public: Path) -> None:
    (public / "vcio").touch(mode=0)
    with unprivileged(), pytest.raises(SourceError, match="group video") as caught:
        source(Mailbox([public / "vcio"])).discover()
    assert caught.value.reason == "permission"


def test_the_mailboxes_of_the_kernel() -> None:
    assert rpi.DEVICES == ("/dev/vcio_gencmd", "/dev/vcio")


@given(st.text() | st.text(alphabet="AVX_ current(volt)=.0123456789\n-").map(PUBLISHED.__add__))
def test_any_text_gives_watts_or_an_error(text: str) -> None:
    try:
        watts = parse_rails(text)
    except SourceError:
        return
    assert watts
    assert all(0 <= value < 10**8 for value in watts.values())


@given(st.binary(max_size=1100))
def test_any_answer_is_text_or_an_error(answer: bytes) -> None:
    def scribble(message: bytearray) -> None:
        message[: len(answer)] = answer

    pi = source(scribble)
    with pytest.raises(SourceError):
        pi.discover()
