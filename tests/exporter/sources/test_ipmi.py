"""The IPMI source: hand-made answers after the DCMI 1.5 specification, and the kernel's ioctls.

There is no recording of a controller's answers that may be published.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.ipmi import Kernel, answer
from tests.fixtures.sysfs import unprivileged

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources import ipmi
from wattshed_exporter.sources.ipmi import Ipmi, KernelTransport, create, power_reading

NOW_MS = 1_700_000_000_123
MONTH_MS = 2_685_198_000
KEY = "n1/ipmi/dcmi"


class Controller:
    """A transport that gives the next of the answers, the last one for ever, or raises it."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int, bytes]] = []

    def __call__(self, netfn: int, command: int, data: bytes) -> bytes:
        self.asked.append((netfn, command, data))
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(now, Exception):
            raise now
        return now


def source(transport: ipmi.Transport, interval: float = 1.0) -> Ipmi:
    config = Config(node="n1", site="here", interval_seconds=interval)
    return Ipmi(config, transport, clock=lambda: NOW_MS * 1_000_000)


def test_the_current_power_and_never_the_average() -> None:
    controller = Controller(answer(1632, average=700, period_ms=MONTH_MS))
    machine = source(controller)
    assert machine.discover() == [
        Device(
            key=KEY,
            kind=Kind.HOST,
            node="n1",
            source="ipmi",
            name="dcmi",
            site="here",
            scope="dcmi",
            method=Method.INTEGRAL,
            overlap=Overlap.OUTER,
        )
    ]
    assert machine.read().readings == [Reading(KEY, NOW_MS, power_watts=1632.0)]
    assert controller.asked == [(0x2C, 0x02, b"\xdc\x01\x00\x00")] * 2


def test_bytes_of_the_specification() -> None:
    said = bytes.fromhex("00 dc 60 06 03 00 ff ff bc 02 00 f1 53 65 70 35 0d a0 40")
    assert power_reading(said) == (1632.0, "")
    assert power_reading(said + b"\x00\x00") == (1632.0, ""), "some controllers pad"


@pytest.mark.parametrize(
    ("said", "gap"),
    [
        (answer(1632, state=0), "inactive"),
        (answer(1632, state=0xBF), "inactive"),
        (answer(0), "no_reading"),
    ],
)
def test_gaps(said: bytes, gap: str) -> None:
    machine = source(Controller(answer(5), said, answer(7)))
    machine.discover()
    assert machine.read().readings == [Reading(KEY, NOW_MS, gap=gap)]
    assert machine.read().readings == [Reading(KEY, NOW_MS, power_watts=7.0)]
    with pytest.raises(NoData, match=gap):
        source(Controller(said)).discover()


@pytest.mark.parametrize("code", [0xC1, 0xC2, 0xC9, 0xCB, 0xCC, 0xD6])
def test_unsupported_is_no_data(code: int) -> None:
    with pytest.raises(NoData, match="no DCMI power reading"):
        source(Controller(bytes([code]))).discover()
    machine = source(Controller(answer(5), bytes([code])))
    machine.discover()
    with pytest.raises(DevicesChanged):
        machine.read()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\xc0", "busy"),
        (b"\xc3", "timeout"),
        (b"\xd2", "not_ready"),
        (b"\xd4", "permission"),
        (b"\xd5", "not_ready"),
        (b"\xff", "refused"),
        (b"", "malformed"),
        (b"\x00", "malformed"),
        (answer(5)[:-1], "malformed"),
        (b"\x00\x00" + answer(5)[2:], "malformed"),
    ],
)
def test_refusals_and_garbage(said: bytes, reason: str) -> None:
    machine = source(Controller(said, answer(5), said, answer(6)))
    for call in (machine.discover, machine.read):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.reason == reason
        assert not isinstance(caught.value, NoData)
        if call == machine.discover:
            machine.discover()
    assert machine.read().readings[0].power_watts == 6.0


def test_vanish_and_return() -> None:
    gone = NoData("gone")
    machine = source(Controller(answer(5), gone, gone, answer(6)))
    machine.discover()
    with pytest.raises(DevicesChanged):
        machine.read()
    with pytest.raises(NoData):
        machine.discover()
    machine.discover()
    assert machine.read().readings[0].power_watts == 6.0


@pytest.mark.parametrize(("configured", "used"), [(1.0, 5.0), (60.0, 60.0)])
def test_interval(configured: float, used: float) -> None:
    assert source(Controller(answer(5)), configured).interval_seconds == used


def test_create_opens_nothing() -> None:
    section = SimpleNamespace(device=Path("/nowhere/ipmi0"))
    config: Any = SimpleNamespace(
        node="n1", interval_seconds=1.0, deadline_seconds=5.0, ipmi=section
    )
    machine = create(config)
    assert machine.name == "ipmi"
    with pytest.raises(NoData, match="/nowhere/ipmi0 does not exist"):
        machine.discover()


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\x00\xdc" + tail))
def test_any_bytes(said: bytes) -> None:
    with suppress(SourceError):
        watts, gap = power_reading(said)
        assert (watts is None) == bool(gap)
        assert watts is None or 0 < watts <= 65535


# The kernel's side

WORD = ctypes.sizeof(ctypes.c_void_p)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file that can be opened for both and polled, as a device can."""
    path = tmp_path / "ipmi0"
    os.mkfifo(path)
    return path


def test_a_question_and_its_answer(device: Path) -> None:
    kernel = Kernel(lambda number: (1, number, answer(321)))
    machine = source(KernelTransport(device, 1.0, kernel))
    before = len(os.listdir("/proc/self/fd"))
    machine.discover()
    assert machine.read().readings[0].power_watts == 321.0
    assert len(os.listdir("/proc/self/fd")) == before
    address = struct.pack("@ihBx", 0x0C, 0x0F, 0)
    assert kernel.sent == [(0x2C, 0x02, address, b"\xdc\x01\x00\x00")] * 2


def test_answers_to_other_questions_are_passed_over(device: Path) -> None:
    seen: list[int] = []

    def respond(number: int) -> tuple[int, int, bytes]:
        seen.append(number)
        kind, mine = [(1, number - 1), (3, number), (1, number)][len(seen) - 1]
        if len(seen) < 3:
            os.write(again, b"!")
        return kind, mine, bytes([len(seen)])

    again = os.open(device, os.O_RDWR)
    try:
        assert KernelTransport(device, 1.0, Kernel(respond))(6, 1, b"") == b"\x03"
    finally:
        os.close(again)


def test_hang(device: Path) -> None:
    class Deaf(Kernel):
        """Takes the question and never answers."""

        def _send(self, descriptor: int, raw: bytes) -> None:
            pass

    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer within 0\.05 s") as caught:
        KernelTransport(device, 0.05, Deaf())(6, 1, b"")
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 1


def test_nothing_there_after_all(device: Path) -> None:
    class Empty(Kernel):
        """Says that there is an answer, and then that there is none yet."""

        def _receive(self, argument: ctypes.Structure) -> None:
            raise BlockingIOError(errno.EAGAIN, "try again")

    with pytest.raises(SourceError) as caught:
        KernelTransport(device, 0.05, Empty())(6, 1, b"")
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EPERM, "permission"),
        (errno.EACCES, "permission"),
        (errno.EIO, "io_error"),
        (errno.EMSGSIZE, "io_error"),
        (errno.ENODEV, "none_here"),
        (errno.ENXIO, "none_here"),
    ],
)
def test_errors_of_the_kernel(device: Path, code: int, reason: str) -> None:
    kernel = Kernel(lambda number: (1, number, answer(1)))
    machine = source(KernelTransport(device, 1.0, kernel))
    kernel.failure = code
    with pytest.raises(SourceError) as caught:
        machine.discover()
    assert caught.value.reason == reason
    kernel.failure = None
    machine.discover()
    kernel.failure = code
    with pytest.raises(DevicesChanged if reason == "none_here" else SourceError):
        machine.read()
    kernel.failure = None
    assert machine.read().readings[0].power_watts == 1.0


def test_absent(tmp_path: Path) -> None:
    for path in (tmp_path / "ipmi0", Path("/dev/null/ipmi0")):
        with pytest.raises(NoData, match="no IPMI controller or driver"):
            source(KernelTransport(path, 1.0)).discover()


def test_not_an_ipmi_device(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError) as caught:
        source(KernelTransport(tmp_path / "file", 1.0)).discover()
    assert caught.value.reason == "io_error"


def test_permission(public: Path) -> None:
    (public / "ipmi0").touch(mode=0)
    with (
        unprivileged(),
        pytest.raises(SourceError, match=r"may not be opened.*root.*udev") as caught,
    ):
        source(KernelTransport(public / "ipmi0", 1.0)).discover()
    assert caught.value.reason == "permission"


def test_sizes_on_x86_64_and_aarch64() -> None:
    sizes = [
        ctypes.sizeof(s) for s in (ipmi.SystemInterface, ipmi.Message, ipmi.Request, ipmi.Received)
    ]
    assert sizes == [8, 16, 40, 48]
    assert (ipmi.SEND_COMMAND, ipmi.RECEIVE_MSG_TRUNC) == (0x8028690D, 0xC030690B)


LAYOUT = r"""
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/ipmi.h>
#define AT(s, f) printf("%zu ", offsetof(struct s, f))
int main(void) {
    AT(ipmi_system_interface_addr, channel); AT(ipmi_system_interface_addr, lun);
    AT(ipmi_msg, cmd); AT(ipmi_msg, data_len); AT(ipmi_msg, data);
    AT(ipmi_req, addr_len); AT(ipmi_req, msgid); AT(ipmi_req, msg);
    AT(ipmi_recv, addr); AT(ipmi_recv, addr_len); AT(ipmi_recv, msgid); AT(ipmi_recv, msg);
    printf("%zu %zu %zu ", sizeof(struct ipmi_system_interface_addr), sizeof(struct ipmi_req),
           sizeof(struct ipmi_recv));
    printf("%u %u ", (unsigned)IPMICTL_SEND_COMMAND, (unsigned)IPMICTL_RECEIVE_MSG_TRUNC);
    printf("%d %d %d", IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL, IPMI_RESPONSE_RECV_TYPE);
}
"""


def test_layout_is_that_of_the_kernels_header(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/ipmi.h").exists():
        pytest.skip("there is no C compiler or no linux/ipmi.h to compare with")
    (tmp_path / "layout.c").write_text(LAYOUT)
    program = tmp_path / "layout"
    subprocess.run([compiler, "-o", str(program), str(tmp_path / "layout.c")], check=True)
    said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    ours: list[int] = []
    for structure, names in (
        (ipmi.SystemInterface, "channel lun"),
        (ipmi.Message, "cmd data_len data"),
        (ipmi.Request, "addr_len msgid msg"),
        (ipmi.Received, "addr addr_len msgid msg"),
    ):
        ours += [getattr(structure, name).offset for name in names.split()]
    ours += map(ctypes.sizeof, (ipmi.SystemInterface, ipmi.Request, ipmi.Received))
    ours += [ipmi.SEND_COMMAND, ipmi.RECEIVE_MSG_TRUNC]
    ours += [ipmi.SYSTEM_INTERFACE_ADDR, ipmi.BMC_CHANNEL, ipmi.IS_RESPONSE]
    assert [int(word) for word in said.split()] == ours
