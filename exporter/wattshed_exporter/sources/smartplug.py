"""Power and energy from smart plugs and meters: Shelly, Tasmota and HomeWizard.

Which of them a URL belongs to is found out; how each is read is said in ``smartplug_families``.
What flows back is not consumption:
negative power is the gap ``export``, and where a counter also counts what flows back (Gen2 once
``ret_aenergy`` is above zero) or runs backwards (Tasmota), power is integrated instead. A plug may
feed anything, so its meters overlap those of the machines behind it. Plugs are asked side by side,
each in a thread that lives for one question, so that one that hangs holds up neither the others nor
the exit. One that asks for a password or, as version 2 of HomeWizard's interface, for a token is
not read.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading

from . import Sample
from .http_json import Counter, HttpJson, Json, dig, number, text
from .smartplug_families import GEN1, GEN2, HOMEWIZARD, TASMOTA, Family, Said

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)
T = TypeVar("T")

SHORTEST_INTERVAL_SECONDS = 5.0
"""A plug is a microcontroller on a radio; its counter misses nothing in between."""
PATIENCE = 0.6
"""Share of the deadline that a plug gets, so that a dead one does not make all of them late."""

SITES = frozenset({"HWE-P1"})
"""What measures the connection of a whole site."""
MAC = re.compile(r"[0-9A-F]{12}")
UNKNOWN_PATH = frozenset({"vanished", "http_error", "redirect", "malformed"})


@dataclass(frozen=True, slots=True)
class Plug:
    """One plug: how it is read and the devices that are its channels."""

    reader: HttpJson
    family: Family
    identity: str
    devices: Mapping[str, Device]


class SmartPlug:
    """The plugs at a list of URLs as a ``Source``."""

    name = "smartplug"

    def __init__(
        self,
        config: Config,
        urls: Sequence[str],
        *,
        timeout_seconds: float = 3.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_seconds = max(config.interval_seconds, SHORTEST_INTERVAL_SECONDS)
        self._config = config
        self._urls = tuple(dict.fromkeys(urls))
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._plugs: dict[str, Plug] = {}
        self._silent: tuple[str, ...] = ()
        self._counters: dict[str, Counter] = {}
        self._both_ways: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}

    def discover(self) -> Sequence[Device]:
        """Find out what answers at each URL; one that does not is asked again by every read.

        Raises:
            NoData: no URL is configured, or no plug has a meter.
            SourceError: no plug can be read; the reason is that of the first.
        """
        self.close()
        if not self._urls:
            raise NoData("smartplug.urls names no plug")
        failures: dict[str, SourceError] = {}
        for url, found in self._ask(self._urls, self._identify).items():
            if isinstance(found, SourceError):
                failures[url] = found
                log.info("a plug is left out until it answers: %s", found)
            elif not found.devices:
                log.info("%s is left out: it has no meter", found.reader.origin)
            elif all(found.identity != plug.identity for plug in self._plugs.values()):
                self._plugs[url] = found
        if not self._plugs and failures:
            raise next(iter(failures.values()))
        if not self._plugs:
            raise NoData("no plug has a meter")
        self._silent = tuple(failures)
        return [device for plug in self._plugs.values() for device in plug.devices.values()]

    def read(self) -> Sample:
        """Read every plug at the same time: watts, and microjoules where there is a counter.

        A channel without either is a gap: ``export``, ``no_reading``, ``invalid``, or why its plug
        cannot be read: ``timeout``, ``unreachable``, ``unauthorized``, ``malformed``, ...

        Raises:
            DevicesChanged: a plug that was silent answers, one has become another or has other
                channels, or none was discovered.
            SourceError: no plug can be read; the reason is that of the first.
        """
        if not self._plugs:
            raise DevicesChanged("no plug is discovered")
        answers = self._ask((*self._plugs, *self._silent), self._answer)
        for url in self._silent:
            if not isinstance(answers[url], SourceError):
                raise DevicesChanged(f"{url} answers again")
        readings: list[Reading] = []
        failures: list[SourceError] = []
        for url, plug in self._plugs.items():
            answer = answers[url]
            if isinstance(answer, DevicesChanged):
                raise answer
            if isinstance(answer, SourceError):
                failures.append(answer)
                now_ms, gap = self._clock() // 1_000_000, answer.reason
                readings += [Reading(d.key, now_ms, gap=gap) for d in plug.devices.values()]
            else:
                readings += answer
        if len(failures) == len(self._plugs):
            raise failures[0]
        return Sample(readings)

    def close(self) -> None:
        self._plugs, self._silent = {}, ()

    def _ask(self, urls: Sequence[str], call: Callable[[str], T]) -> dict[str, T | SourceError]:
        """Call with every URL side by side; a thread that still hangs is not joined by another."""
        answers: dict[str, T | Exception] = {}

        def run(url: str) -> None:
            try:
                answers[url] = call(url)
            except Exception as error:
                answers[url] = error

        until = time.monotonic() + self._timeout_seconds
        for url in urls:
            if url not in self._threads or not self._threads[url].is_alive():
                thread = threading.Thread(target=run, args=(url,), name=f"ask {url}", daemon=True)
                self._threads[url] = thread
                thread.start()
        found: dict[str, T | SourceError] = {}
        for url in urls:
            self._threads[url].join(max(0.0, until - time.monotonic()))
            late = SourceError(f"{url}: no answer within {self._timeout_seconds:g} s", "timeout")
            answer = answers.get(url, late)
            if isinstance(answer, Exception) and not isinstance(answer, SourceError):
                raise answer
            found[url] = answer
        return found

    def _answer(self, url: str) -> list[Reading]:
        plug = self._plugs.get(url)
        if plug is None:
            self._identify(url)
            return []
        try:
            answer = _get(plug.reader, plug.family.path)
        except SourceError as error:
            if error.reason == "vanished":
                raise DevicesChanged(str(error)) from error
            raise
        now_ms = self._clock() // 1_000_000
        told, said = _mac(dig(answer, *plug.family.mac)), plug.family.channels(answer)
        if told and MAC.fullmatch(plug.identity) and told != plug.identity:
            raise DevicesChanged(f"{plug.reader.origin} is now {told}")
        if set(said) != set(plug.devices):
            raise DevicesChanged(f"the channels of {plug.reader.origin} changed")
        return [self._reading(plug.devices[name].key, now_ms, said[name]) for name in said]

    def _reading(self, key: str, now_ms: int, said: Said) -> Reading:
        if said.gap == "export" and not said.apart:
            self._both_ways.add(key)
        told_uj = None if key in self._both_ways else said.energy_uj
        energy_uj = self._counters.setdefault(key, Counter()).take(told_uj)
        known = said.watts is not None or energy_uj is not None
        return Reading(
            key, now_ms, said.watts, energy_uj, gap="" if known else said.gap or "no_reading"
        )

    def _identify(self, url: str) -> Plug:
        reader = HttpJson(url, timeout_seconds=self._timeout_seconds)
        told = _introduction(reader, "/shelly")
        if "mac" in told:
            family = GEN2 if (number(told.get("gen")) or 0) >= 2 else GEN1
            mac = told.get("mac")
        elif "product_type" in (told := _introduction(reader, "/api")):
            family, mac = HOMEWIZARD, told.get("serial")
        else:
            family = TASMOTA
            mac = dig(_get(reader, "/cm?cmnd=Status%205"), "StatusNET", "Mac")
        said = family.channels(_get(reader, family.path))
        identity = _mac(mac) or f"{self._config.node}/smartplug/{reader.host}"
        devices = {
            name: self._device(identity, name, said[name], family.vendor, told) for name in said
        }
        return Plug(reader, family, identity, devices)

    def _device(self, identity: str, channel: str, said: Said, vendor: str, told: Json) -> Device:
        name = _first(told, "name", "product_name")
        return Device(
            key=f"{identity}/{channel}",
            kind=Kind.SITE if text(told.get("product_type")) in SITES else Kind.HOST,
            node=self._config.node,
            source=self.name,
            name=f"{name} {channel}" if name else f"{identity}/{channel}",
            vendor=vendor,
            model=_first(told, "model", "type", "product_type"),
            firmware=_first(told, "fw_id", "fw", "firmware_version"),
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope="plug",
            method=Method.INTEGRAL if said.energy_uj is None else Method.COUNTER,
            overlap=Overlap.OUTER,
        )


def create(config: Config) -> SmartPlug:
    """Build the source; nothing is opened before ``discover``."""
    timeout_seconds = PATIENCE * config.deadline_seconds
    return SmartPlug(config, config.smartplug.urls, timeout_seconds=timeout_seconds)


def _introduction(reader: HttpJson, path: str) -> Json:
    """Return what a plug says of itself, {} where it does not know the question."""
    try:
        return reader.get(path)
    except SourceError as error:
        if error.reason not in UNKNOWN_PATH:
            raise
        return {}


def _first(told: Json, *names: str) -> str:
    return next(filter(None, (text(told.get(name)) for name in names)), "")


def _get(reader: HttpJson, path: str) -> Json:
    answer = reader.get(path)
    if "user=" in text(answer.get("WARNING")):  # how Tasmota asks for a password
        raise SourceError(f"{reader.origin} asks for a password", "unauthorized")
    return answer


def _mac(value: object) -> str:
    mac = text(value).upper().replace(":", "")
    return mac if MAC.fullmatch(mac) else ""
