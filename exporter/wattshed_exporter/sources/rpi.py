"""Board power of a Raspberry Pi 5 from its power controller, asked through the firmware's mailbox.

The controller (PMIC) measures volts and amperes of twelve rails; the sum of their products is what
this source says, with the scope ``pmic``. It is less than what the power supply gives: losses
before the rails, USB devices and everything on the 5 V pins are not in it. Others fitted 1.1451
times the sum plus 0.5879 W to a USB meter on one board; that is no measurement and is not applied.
The firmware answers the text command ``pmic_read_adc`` (the same as ``vcgencmd pmic_read_adc``),
carried by property tag 0x00030080 over an ioctl of /dev/vcio, which belongs to the group video;
boards before the Pi 5 do not know the command. The device is opened for every read and nothing is
held. Source: vcgencmd in github.com/raspberrypi/utils and the wiki page "Mailbox property
interface" of github.com/raspberrypi/firmware; the answer's format: leukipp/touchkio issue 35.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading

from . import Sample
from .sysfs import board_model

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

Transport = Callable[[bytearray], None]
"""Hands a property message to the firmware, which answers in place."""
Ioctl = Callable[[int, int, bytearray, bool], object]

DEVICES = ("/dev/vcio_gencmd", "/dev/vcio")
"""The first carries only text commands; kernels since 2026 have it."""
PROPERTY = 0xC0006400 | struct.calcsize("P") << 16
"""``_IOWR(100, 0, char *)``"""
GENCMD_RESULT = 0x00030080
SUCCESS = 0x80000000
COMMAND = b"pmic_read_adc"
TEXT_BYTES = 1024
"""Room for command and answer; the twelve rails take less than 900."""
HEADER = struct.Struct("=6I")
"""Bytes in all, request or response, tag, room for the text, length, error; then text, then 0."""
NUMBER = r"\([0-9]+\)=([0-9]{1,4}\.[0-9]{1,10})"
RAIL = re.compile(rf"(\w+)_(?:A current{NUMBER}A|V volt{NUMBER}V)\b", re.ASCII)


class Rpi:
    """The power controller as a ``Source`` of one device."""

    name = "rpi"

    def __init__(
        self,
        config: Config,
        transport: Transport,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_seconds = config.interval_seconds
        self._config = config
        self._transport = transport
        self._clock = clock
        self._key = f"{config.node}/rpi/pmic"
        self._rails: frozenset[str] = frozenset()

    def discover(self) -> Sequence[Device]:
        """Ask once, and remember which rails there are.

        Raises:
            NoData: there is no firmware to ask, or it does not know the command.
            SourceError: it may not be asked (``reason="permission"``) or answers nonsense.
        """
        self._rails = frozenset()
        self._rails = frozenset(parse_rails(gencmd(COMMAND, self._transport)))
        config = self._config
        return [
            Device(
                key=self._key,
                kind=Kind.BOARD,
                node=config.node,
                source=self.name,
                name="pmic",
                vendor="Raspberry Pi",
                model=board_model(config.roots.sysfs),
                site=config.site,
                tier=config.tier,
                cluster=config.cluster,
                scope="pmic",
                method=Method.INTEGRAL,
            )
        ]

    def read(self) -> Sample:
        """Sum the rails, or say why not: ``permission``, ``malformed`` or ``io_error``.

        Raises:
            DevicesChanged: the mailbox is gone, or nothing was discovered.
        """
        if not self._rails:
            raise DevicesChanged("no rails were discovered")
        now_ms = self._clock() // 1_000_000
        try:
            rails = parse_rails(gencmd(COMMAND, self._transport))
            if rails.keys() != self._rails:
                raise SourceError("the answer has other rails than at first", "malformed")
        except NoData as error:
            raise DevicesChanged(str(error)) from error
        except SourceError as error:
            return Sample([Reading(self._key, now_ms, gap=error.reason)])
        return Sample([Reading(self._key, now_ms, power_watts=sum(rails.values()))])

    def close(self) -> None:
        self._rails = frozenset()


def create(config: Config) -> Rpi:
    """Build the source; nothing is opened before ``discover``."""
    return Rpi(config, Mailbox())


class Mailbox:
    """Carries messages to the firmware through the first of these devices that is there."""

    def __init__(self, devices: Sequence[str | Path] = DEVICES, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._devices = devices
        self._ioctl = ioctl

    def __call__(self, message: bytearray) -> None:
        """Send a property message, which is answered in place.

        Raises:
            NoData: none of the devices is there.
            SourceError: ``permission`` or ``io_error``.
        """
        for path in self._devices:
            try:
                self._send(path, message)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                raise SourceError(
                    f"{path} may not be opened: run the exporter in the group video", "permission"
                ) from error
            except OSError as error:
                raise SourceError(f"{path}: {error}", "io_error") from error
            return
        raise NoData(f"none of {', '.join(map(str, self._devices))} is there: not a Raspberry Pi")

    def _send(self, path: str | Path, message: bytearray) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._ioctl(fd, PROPERTY, message, True)
        finally:
            os.close(fd)


def gencmd(command: bytes, transport: Transport) -> str:
    """Return the firmware's answer to a text command.

    Raises:
        NoData: the firmware does not know the command.
        SourceError: the answer is none (``reason="malformed"``), or what the transport raises.
    """
    size = HEADER.size + TEXT_BYTES + 4
    message = bytearray(size)
    HEADER.pack_into(message, 0, size, 0, GENCMD_RESULT, TEXT_BYTES, 0, 0)
    message[HEADER.size : HEADER.size + len(command)] = command
    transport(message)
    if len(message) != size:
        raise SourceError("the answer has another length than the question", "malformed")
    _, status, tag, _, _, error = HEADER.unpack_from(message)
    text = bytes(message[HEADER.size : -4]).partition(b"\0")[0].decode(errors="replace")
    if text.startswith("error="):
        raise NoData(f"the firmware does not know {command.decode()}: {text.strip()}")
    if status != SUCCESS or tag != GENCMD_RESULT or error:
        raise SourceError(f"the firmware answers with status {status:#x}, {error}", "malformed")
    return text


def parse_rails(text: str) -> dict[str, float]:
    """Return the watts of every rail that has both a current and a voltage.

    Two have a voltage alone, the 5 V input and the clock's battery. A current without its voltage,
    or one that cannot be read, makes the whole answer worthless, because the sum would be short.
    """
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for name, current, volt in RAIL.findall(text):
        (amperes if current else volts)[name] = float(current or volt)
    if not amperes or len(amperes) != text.count(" current(") or not amperes.keys() <= volts.keys():
        raise SourceError(f"{text[:64]!r} does not tell of rails", "malformed")
    return {name: ampere * volts[name] for name, ampere in amperes.items()}
