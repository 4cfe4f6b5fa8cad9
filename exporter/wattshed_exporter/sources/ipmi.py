"""Power of the whole machine from its management controller: IPMI DCMI "Get Power Reading".

The question goes through the kernel's ``/dev/ipmi0`` by ioctl; nothing is started and no network is
involved. Only the current power counts: the average covers a window that the controller chooses,
seconds or a month. A reading of 0 W is none, since whatever asks draws power. On some boards the
measurement leaves out the GPUs (they have supplies of their own), so that it can be below their
sum. It contains the CPUs and all else on the board, hence the overlap. Sources: DCMI specification
1.5 rev 1.0, 6.6.1; IPMI 2.0, table 5-2 (completion codes); ``linux/ipmi.h``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading

from . import Sample

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

SHORTEST_INTERVAL_SECONDS = 5.0
"""Controllers renew the value about once a second, and each question keeps the kernel busy."""
PATIENCE = 0.6
"""Share of the deadline that the controller gets to answer."""

DCMI_NETFN, GET_POWER_READING, DCMI_GROUP, SYSTEM_POWER = 0x2C, 0x02, 0xDC, 0x01
REQUEST = bytes((DCMI_GROUP, SYSTEM_POWER, 0, 0))
RESPONSE = struct.Struct("<BBHHHHIIB")
"""Completion code, group, current, minimum, maximum, average, time stamp, period, state."""
MEASURING = 0x40
UNSUPPORTED = frozenset({0xC1, 0xC2, 0xC9, 0xCB, 0xCC, 0xD6})
"""Completion codes of a controller without this command or without a power sensor."""
COMPLETIONS = {
    0xC0: ("busy", "it is busy"),
    0xC3: ("timeout", "it timed out"),
    0xD2: ("not_ready", "it is being updated or is starting"),
    0xD4: ("permission", "the privilege does not suffice; its firmware firewall may forbid it"),
    0xD5: ("not_ready", "not in its present state"),
}

Transport = Callable[[int, int, bytes], bytes]
"""Takes network function, command and data; returns the completion code and the data."""


class Ipmi:
    """The DCMI power reading of this machine as a ``Source``."""

    name = "ipmi"

    def __init__(
        self, config: Config, transport: Transport, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.interval_seconds = max(config.interval_seconds, SHORTEST_INTERVAL_SECONDS)
        self._config = config
        self._ask = transport
        self._clock = clock
        self._key = f"{config.node}/ipmi/dcmi"
        self._found = False

    def discover(self) -> Sequence[Device]:
        """List the machine, if its controller measures power.

        Raises:
            NoData: no controller, one without DCMI, or one that measures nothing now.
            SourceError: it cannot be asked; ``permission``, ``timeout``, ``busy``, ...
        """
        self._found = False
        watts, gap = power_reading(self._ask(DCMI_NETFN, GET_POWER_READING, REQUEST))
        if watts is None:
            raise NoData(f"the management controller gives no power reading: {gap}")
        self._found = True
        return [
            Device(
                key=self._key,
                kind=Kind.HOST,
                node=self._config.node,
                source=self.name,
                name="dcmi",
                site=self._config.site,
                tier=self._config.tier,
                cluster=self._config.cluster,
                scope="dcmi",
                method=Method.INTEGRAL,
                overlap=Overlap.OUTER,
            )
        ]

    def read(self) -> Sample:
        """Read the current power in watts; ``inactive`` and ``no_reading`` are gaps.

        Raises:
            DevicesChanged: the controller is gone, or was not discovered.
            SourceError: it cannot be asked; ``permission``, ``timeout``, ``busy``, ...
        """
        if not self._found:
            raise DevicesChanged("no management controller is discovered")
        try:
            answer = self._ask(DCMI_NETFN, GET_POWER_READING, REQUEST)
            watts, gap = power_reading(answer)
        except NoData as gone:
            raise DevicesChanged(str(gone)) from gone
        return Sample([Reading(self._key, self._clock() // 1_000_000, watts, gap=gap)])

    def close(self) -> None:
        self._found = False


def create(config: Config) -> Ipmi:
    """Build the source; nothing is opened before ``discover``."""
    return Ipmi(config, KernelTransport(config.ipmi.device, PATIENCE * config.deadline_seconds))


def power_reading(response: bytes) -> tuple[float | None, str]:
    """Return watts, or None and the reason why there are none.

    Raises:
        NoData: the controller does not support the command.
        SourceError: it refuses, or answers something else (``malformed``).
    """
    if not response:
        raise SourceError("the management controller answers nothing", "malformed")
    if response[0] in UNSUPPORTED:
        raise NoData(f"the management controller has no DCMI power reading ({response[0]:#04x})")
    if response[0] != 0:
        reason, why = COMPLETIONS.get(response[0], ("refused", "for a reason of its own"))
        raise SourceError(
            f"the management controller refuses: {why} (completion code {response[0]:#04x})", reason
        )
    if len(response) < RESPONSE.size or response[1] != DCMI_GROUP:
        raise SourceError(
            f"{response[:24].hex(' ')} is not a DCMI power reading of {RESPONSE.size} bytes",
            "malformed",
        )
    _, _, current_watts, _, _, _, _, _, state = RESPONSE.unpack_from(response)
    if not state & MEASURING:
        return None, "inactive"
    return (float(current_watts), "") if current_watts else (None, "no_reading")


class SystemInterface(ctypes.Structure):
    """``struct ipmi_system_interface_addr``."""

    _fields_ = (("addr_type", ctypes.c_int), ("channel", ctypes.c_short), ("lun", ctypes.c_ubyte))


class Message(ctypes.Structure):
    """``struct ipmi_msg``."""

    _fields_ = (
        ("netfn", ctypes.c_ubyte),
        ("cmd", ctypes.c_ubyte),
        ("data_len", ctypes.c_ushort),
        ("data", ctypes.c_void_p),
    )


class Request(ctypes.Structure):
    """``struct ipmi_req``."""

    _fields_ = (
        ("addr", ctypes.c_void_p),
        ("addr_len", ctypes.c_uint),
        ("msgid", ctypes.c_long),
        ("msg", Message),
    )


class Received(ctypes.Structure):
    """``struct ipmi_recv``."""

    _fields_ = (
        ("recv_type", ctypes.c_int),
        ("addr", ctypes.c_void_p),
        ("addr_len", ctypes.c_uint),
        ("msgid", ctypes.c_long),
        ("msg", Message),
    )


# As include/uapi/asm-generic/ioctl.h has it; MIPS, PowerPC and SPARC number the directions anew.
SEND_COMMAND = 2 << 30 | ctypes.sizeof(Request) << 16 | ord("i") << 8 | 13
RECEIVE_MSG_TRUNC = 3 << 30 | ctypes.sizeof(Received) << 16 | ord("i") << 8 | 11
SYSTEM_INTERFACE_ADDR, BMC_CHANNEL, IS_RESPONSE = 0x0C, 0x0F, 1
LONGEST_ADDRESS, LONGEST_MESSAGE = 40, 272

Ioctl = Callable[[int, int, ctypes.Structure], object]


class KernelTransport:
    """Asks the controller through the kernel; the device is open for one question only."""

    def __init__(
        self,
        path: Path,
        timeout_seconds: float,
        ioctl: Ioctl = fcntl.ioctl,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._ioctl = ioctl
        self._clock = clock
        self._numbers = itertools.count(1)

    def __call__(self, netfn: int, command: int, data: bytes) -> bytes:
        """Send one command and wait for its answer.

        Raises:
            NoData: there is no such device.
            SourceError: ``permission``, ``timeout`` or ``io_error``.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                return self._exchange(descriptor, netfn, command, data)
            finally:
                os.close(descriptor)
        except PermissionError as error:
            raise SourceError(
                f"{self._path} may not be opened (the kernel leaves it to root): run the exporter "
                "as root, or give it the device's group with a udev rule",
                "permission",
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
                raise NoData(
                    f"{self._path} does not exist: no IPMI controller or driver"
                ) from error
            raise SourceError(f"{self._path}: {error}", "io_error") from error

    def _exchange(self, descriptor: int, netfn: int, command: int, data: bytes) -> bytes:
        number = next(self._numbers)
        address = SystemInterface(SYSTEM_INTERFACE_ADDR, BMC_CHANNEL, 0)
        payload = ctypes.create_string_buffer(data, len(data))
        message = Message(netfn, command, len(data), ctypes.addressof(payload))
        request = Request(ctypes.addressof(address), ctypes.sizeof(address), number, message)
        self._ioctl(descriptor, SEND_COMMAND, request)
        until = self._clock() + self._timeout_seconds
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while (left := until - self._clock()) > 0:
            if waiting.poll(left * 1000):
                answer = self._receive(descriptor, number)
                if answer is not None:
                    return answer
        raise SourceError(
            f"{self._path}: no answer within {self._timeout_seconds:g} s", reason="timeout"
        )

    def _receive(self, descriptor: int, number: int) -> bytes | None:
        """Return the answer that waits, None where it is to another question."""
        address = ctypes.create_string_buffer(LONGEST_ADDRESS)
        payload = ctypes.create_string_buffer(LONGEST_MESSAGE)
        received = Received(
            addr=ctypes.addressof(address),
            addr_len=LONGEST_ADDRESS,
            msg=Message(data_len=LONGEST_MESSAGE, data=ctypes.addressof(payload)),
        )
        try:
            self._ioctl(descriptor, RECEIVE_MSG_TRUNC, received)
        except BlockingIOError:
            return None
        if received.recv_type != IS_RESPONSE or received.msgid != number:
            return None
        return payload.raw[: received.msg.data_len]
