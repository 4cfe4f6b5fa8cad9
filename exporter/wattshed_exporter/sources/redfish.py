"""Power and energy of a chassis as its management controller (BMC) tells it over Redfish.

Per chassis the first of these that has a reading: ``EnvironmentMetrics`` (``PowerWatts``, and
``EnergyJoules`` or ``EnergykWh`` as a counter), ``PowerControl`` of the legacy ``Power`` resource,
and the inputs of the power supplies. Entries of ``PowerControl`` are different scopes and never
summed: the one for the chassis counts, else the first. Only ``PowerConsumedWatts`` is a reading;
averages, limits and the supplies' outputs are not, and an input of a supply that reaches its
capacity is its rating (iDRAC). 0 W says that there is no sensor, since the controller that answers
draws power. A chassis contains its CPUs and GPUs, hence the overlap; chassis that are parts of
another (GPU modules, boards) are left out. Controllers are slow, so they are asked once in
``cache_seconds``. Source: DMTF DSP0266 and the schemas Chassis, EnvironmentMetrics 1.3, Power 1.7,
PowerSubsystem 1.1, PowerSupplyMetrics 1.1.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import MICRO, Device, Kind, Method, Overlap, Reading

from . import Sample
from .http_json import Counter, HttpJson, Json, dig, microjoules, number, objects, text

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

ROOT = "/redfish/v1"
KILOWATT_HOUR_UJ = 3_600_000 * MICRO
FINE_DIGITS = 3
"""Digits after the point from which on a counter in kWh is fine enough: 3.6 kJ and less."""
MOST_CHASSIS = 64
PARTS = frozenset({"Card", "Cartridge", "Component", "HeatExchanger", "IPBasedDrive", "Module"})
"""Values of ``ChassisType`` that are parts of a machine and not a machine."""
OF_ONE_RESOURCE = frozenset({"vanished", "malformed", "http_error", "redirect"})
"""Reasons that say nothing about the controller's other resources."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the resources of one chassis say; ``coarse`` if the counter's steps are large."""

    watts: float | None = None
    energy_uj: int | None = None
    start_ms: int | None = None
    coarse: bool = False

    def __bool__(self) -> bool:
        return self.watts is not None or self.energy_uj is not None


Understand = Callable[[Sequence[Json]], Said]


@dataclass(slots=True)
class Chassis:
    """One chassis: where its readings are, how they are understood, and whether it counts."""

    device: Device
    paths: tuple[str, ...]
    understand: Understand
    counts: bool
    counter: Counter = field(default_factory=Counter)


class Redfish:
    """The chassis behind one Redfish service as a ``Source``."""

    name = "redfish"

    def __init__(
        self,
        config: Config,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: Path | None = None,
        cache_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_seconds = max(config.interval_seconds, cache_seconds)
        self._config = config
        self._url = url
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._reader: HttpJson | None = None
        self._open = partial(
            HttpJson,
            username=username,
            password=password,
            ca_file=ca_file,
            timeout_seconds=timeout_seconds,
            keep=True,
        )
        if username and url.startswith("http:"):
            log.warning("redfish.url is not https: the password is sent as it is")
        self._chassis: tuple[Chassis, ...] = ()
        self._cached: tuple[float, Sample] | None = None

    def discover(self) -> Sequence[Device]:
        """List the chassis that have a reading.

        Raises:
            NoData: no URL is configured, or no chassis has a reading.
            SourceError: the service cannot be read; ``unauthorized``, ``tls``, ``timeout``, ...
        """
        self.close()
        if not self._url:
            raise NoData("redfish.url names no management controller")
        reader = self._open(self._url.rstrip("/").removesuffix(ROOT))
        try:
            found = self._find(reader)
        except SourceError:
            reader.close()
            raise
        known = {chassis.device.key for chassis in found}
        for chassis in found:
            if chassis.device.parent not in known:
                chassis.device = replace(chassis.device, parent="")
        self._reader, self._chassis = reader, tuple(found)
        return [chassis.device for chassis in found]

    def read(self) -> Sample:
        """Read every chassis: watts, and microjoules where there is a counter.

        A chassis without either is a gap: ``no_reading``, ``vanished``, ``malformed``,
        ``http_error`` or ``redirect``. What was read less than half of ``cache_seconds`` ago is
        handed out again.

        Raises:
            DevicesChanged: no chassis is left, or none was discovered.
            SourceError: the service as a whole cannot be read.
        """
        began = time.monotonic()
        if self._cached is not None and began - self._cached[0] < self._cache_seconds / 2:
            return self._cached[1]
        readings = [self._read(chassis) for chassis in self._chassis]
        if all(reading.gap == "vanished" for reading in readings):
            raise DevicesChanged("no chassis is left")
        sample = Sample(readings)
        self._cached = began, sample
        return sample

    def close(self) -> None:
        reader, self._reader = self._reader, None
        self._chassis, self._cached = (), None
        if reader is not None:
            reader.close()

    def _find(self, reader: HttpJson) -> list[Chassis]:
        collection = link(reader.get(f"{ROOT}/"), "Chassis")
        if not collection:
            raise NoData(f"{reader.origin} lists no chassis")
        found: list[Chassis] = []
        failure: SourceError | None = None
        for path in members(reader.get(collection))[:MOST_CHASSIS]:
            try:
                chassis = self._try(reader, path)
            except SourceError as error:
                if error.reason not in OF_ONE_RESOURCE:
                    raise
                log.info("%s is left out: %s", path, error)
                failure = error
            else:
                if chassis and all(chassis.device.key != other.device.key for other in found):
                    found.append(chassis)
        if failure and not found:
            raise failure
        if not found:
            raise NoData(f"no chassis of {reader.origin} has a power reading")
        return found

    def _try(self, reader: HttpJson, path: str) -> Chassis | None:
        resource = reader.get(path)
        if resource.get("ChassisType") in PARTS:
            return None
        failure: SourceError | None = None
        for paths, understand in ways(reader, resource):
            try:
                said = understand([reader.get(one) for one in paths])
            except SourceError as error:
                if error.reason not in OF_ONE_RESOURCE:
                    raise
                failure = error
                continue
            if said:
                counts = said.energy_uj is not None and (not said.coarse or said.watts is None)
                return Chassis(self._device(path, resource, counts), paths, understand, counts)
        if failure:
            raise failure
        return None

    def _device(self, path: str, resource: Json, counts: bool) -> Device:
        container = link(dig(resource, "Links"), "ContainedBy")
        return Device(
            key=self._key(path),
            kind=Kind.HOST,
            node=self._config.node,
            source=self.name,
            name=_last(path),
            vendor=text(resource.get("Manufacturer")),
            model=text(resource.get("Model")),
            serial=text(resource.get("SerialNumber")),
            parent=self._key(container) if container else "",
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope="chassis",
            method=Method.COUNTER if counts else Method.INTEGRAL,
            overlap=Overlap.OUTER,
        )

    def _key(self, path: str) -> str:
        return f"{self._config.node}/redfish/{_last(path)}"

    def _read(self, chassis: Chassis) -> Reading:
        key, reader = chassis.device.key, self._reader
        if reader is None:
            raise DevicesChanged("no chassis is discovered")
        try:
            said = chassis.understand([reader.get(path) for path in chassis.paths])
        except SourceError as error:
            if error.reason not in OF_ONE_RESOURCE:
                raise
            return Reading(key, self._clock() // 1_000_000, gap=error.reason)
        now_ms = self._clock() // 1_000_000
        start_ms = said.start_ms if 0 < (said.start_ms or 0) <= now_ms else None
        chassis.counts |= said.energy_uj is not None and not said.coarse
        energy_uj = chassis.counter.take(said.energy_uj, start_ms) if chassis.counts else None
        if energy_uj is None and said.watts is None:
            return Reading(key, now_ms, gap="no_reading")
        start_ms = start_ms if energy_uj is not None else None
        return Reading(key, now_ms, said.watts, energy_uj, start_ms)


def create(config: Config) -> Redfish:
    """Build the source; nothing is opened before ``discover``."""
    settings = config.redfish
    return Redfish(
        config,
        settings.url,
        username=settings.username,
        password=settings.password,
        ca_file=settings.ca_file,
        cache_seconds=settings.cache_seconds,
        timeout_seconds=config.deadline_seconds,
    )


def ways(reader: HttpJson, resource: Json) -> Iterator[tuple[tuple[str, ...], Understand]]:
    """Yield where a chassis may have its readings, best first: paths, and how to read them."""
    if path := link(resource, "EnvironmentMetrics"):
        yield (path,), environment
    if path := link(resource, "Power"):
        yield (path,), control
        yield (path,), inputs
    if path := link(resource, "PowerSubsystem"):
        yield from _supplies(reader, path)


def environment(answers: Sequence[Json]) -> Said:
    """Understand ``EnvironmentMetrics``."""
    (answer,) = answers
    watts = _watts(dig(answer, "PowerWatts", "Reading"))
    for name, unit_uj in (("EnergyJoules", MICRO), ("EnergykWh", KILOWATT_HOUR_UJ)):
        reading = dig(answer, name, "Reading")
        if energy_uj := microjoules(reading, unit_uj):
            start_ms = _time_ms(dig(answer, name, "SensorResetTime"))
            coarse = unit_uj == KILOWATT_HOUR_UJ and _digits(reading) < FINE_DIGITS
            return Said(watts, energy_uj, start_ms, coarse)
    return Said(watts)


def control(answers: Sequence[Json]) -> Said:
    """Understand ``PowerControl``: the entry for the chassis, else the first."""
    (answer,) = answers
    entries = objects(answer.get("PowerControl"))
    whole = [entry for entry in entries if entry.get("PhysicalContext") == "Chassis"]
    return Said(_watts((whole + entries)[0].get("PowerConsumedWatts")) if entries else None)


def inputs(answers: Sequence[Json]) -> Said:
    """Understand ``PowerSupplies`` of the legacy resource."""
    (answer,) = answers
    present = [s for s in objects(answer.get("PowerSupplies")) if not _absent(s)]
    return _total([(s.get("PowerInputWatts"), s.get("PowerCapacityWatts")) for s in present])


def supply_metrics(capacities: Sequence[object], answers: Sequence[Json]) -> Said:
    """Understand the ``Metrics`` of all power supplies, given their capacities."""
    readings = [dig(answer, "InputPowerWatts", "Reading") for answer in answers]
    return _total(list(zip(readings, capacities, strict=True)))


def link(resource: object, name: str) -> str:
    """Return the path that a property links to, "" where it links nowhere."""
    path = dig(resource, name, "@odata.id")
    return path if isinstance(path, str) else ""


def members(collection: Json) -> list[str]:
    """Return the paths of a collection's members."""
    paths = [item.get("@odata.id") for item in objects(collection.get("Members"))]
    return [path for path in paths if isinstance(path, str)]


def _supplies(reader: HttpJson, path: str) -> Iterator[tuple[tuple[str, ...], Understand]]:
    collection = link(reader.get(path), "PowerSupplies")
    listed = reader.get(collection) if collection else {}
    paths = members(listed)
    if listed.get("Members@odata.count", len(paths)) != len(paths):
        return  # the sum of some supplies is not the consumption
    supplies = [supply for supply in map(reader.get, paths) if not _absent(supply)]
    metrics = tuple(link(supply, "Metrics") for supply in supplies)
    if metrics and all(metrics):
        capacities = [supply.get("PowerCapacityWatts") for supply in supplies]
        yield metrics, partial(supply_metrics, capacities)


def _total(supplies: Sequence[tuple[object, object]]) -> Said:
    """Add the inputs of all supplies, given with their capacities, where each is a reading."""
    total = 0.0
    for reading, rating in supplies:
        watts, capacity = number(reading), number(rating)
        if watts is None or capacity is None or not 0 <= watts < capacity:
            return Said()
        total += float(watts)
    return Said(total or None)


def _absent(supply: Json) -> bool:
    return dig(supply, "Status", "State") == "Absent"


def _watts(value: object) -> float | None:
    watts = number(value)
    return float(watts) or None if watts is not None and watts > 0 else None


def _digits(value: object) -> int:
    amount = number(value)
    exponent = amount.as_tuple().exponent if amount is not None else 0
    return -exponent if isinstance(exponent, int) else 0


def _time_ms(value: object) -> int | None:
    """Return a time stamp in milliseconds; None where it has no zone or makes no sense."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return round(moment.timestamp() * 1000) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _last(path: str) -> str:
    return text(path.rstrip("/").rpartition("/")[2])
