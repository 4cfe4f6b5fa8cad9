"""Power and energy of AMD GPUs from the amdgpu driver's files in sysfs; no library is needed.

The energy accumulator in ``gpu_metrics`` is the measurement where it holds: on some GPUs it is
frozen or counts in a unit of its own, so when a GPU is first seen awake its gain is held against
power x time for a moment, and power is integrated instead where the two disagree. A
runtime-suspended GPU is a gap and is left asleep; what else a card says comes every
``detail_seconds``. The second die of a package has no meter of its
own (no power, no energy) and is left out, as are further partitions of one chip. On APUs the power
includes the CPU, so that they are modules. Sources: those of ``amdgpu_card`` and ``gpu_metrics``;
ROCm/amdsmi issue 38 and ROCm/rocm_smi_lib issue 180 (frozen counters).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Detail, Device, Kind, Method, Reading

from . import Sample
from .amdgpu_card import DRIVER, Card, Taken, agree, list_cards
from .amdgpu_details import details
from .beat import Beat
from .sysfs import read_text

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

UNCERTAINTY_RATIO = 0.05
LONGEST_INTERVAL_SECONDS = 10.0
"""A counter of 32 bits wraps after 66 s at 1 kW: several reads must fit in."""
TEST_SECONDS, TESTS = 0.5, 3
"""The counter is tried so long, and so often, because the load may jump."""


class Amdgpu:
    """The amdgpu cards below ``config.roots.sysfs`` as a ``Source``."""

    name = "amdgpu"

    def __init__(
        self,
        config: Config,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval_seconds = min(config.interval_seconds, LONGEST_INTERVAL_SECONDS)
        self._config = config
        self._clock = clock
        self._sleep = sleep
        self._root = config.roots.sysfs / "class/drm"
        self._cards: tuple[Card, ...] = ()
        self._devices: dict[Card, Device] = {}
        self._awake: dict[str, Device] = {}
        self._beat = Beat(config.detail_seconds)

    def discover(self) -> Sequence[Device]:
        """List the GPUs, and hold the energy counter of new ones against power for a moment.

        Raises:
            NoData: there is no amdgpu card, or none with a meter.
            SourceError: the cards are there, but none may be read (``reason="permission"``).
        """
        self._cards, self._devices = list_cards(self._root), {}
        if not self._cards:
            raise NoData(f"{self._root} has no card of the driver {DRIVER}")
        taken = {card: card.take(self._clock()) for card in self._cards}
        if all(first.gap == "permission" for first in taken.values()):
            raise SourceError(f"no sensor of {DRIVER} may be read", "permission")
        found: dict[str, Card] = {}
        for card, first in taken.items():
            if not first.silent:
                found.setdefault(card.key(self._config.node), card)
        if not found:
            raise NoData(f"no card of {DRIVER} below {self._root} has a sensor of power")
        new = {card: taken[card] for key, card in found.items() if key not in self._awake}
        counts = self._test(new)
        for key, card in found.items():
            self._devices[card] = self._describe(key, card, taken[card], counts)
        return list(self._devices.values())

    def read(self) -> Sample:
        """Read every GPU: microjoules, watts, ratio, bytes, degrees Celsius.

        The gaps are ``suspended``, ``vanished``, ``permission``, ``not_ready`` (a reset),
        ``not_supported``, ``malformed``, ``io_error`` and ``frozen_counter`` (and no power).

        Raises:
            DevicesChanged: cards came or went, one that was silent has power now, or one is awake
                for the first time.
        """
        cards, devices = list_cards(self._root), self._devices
        if cards != self._cards or not devices:
            raise DevicesChanged(f"{self._root} now has {len(cards)} cards of {DRIVER}")
        taken = {card: card.take(self._clock()) for card in cards}
        for card, now in taken.items():
            if not now.gap and self._is_new(card, devices.get(card), now):
                raise DevicesChanged(f"{card.name} is awake or has power for the first time")
        readings = [_reading(device, taken[card]) for card, device in devices.items()]
        return Sample(readings, self._details(taken))

    def close(self) -> None:
        self._cards, self._devices, self._awake = (), {}, {}

    def _details(self, taken: Mapping[Card, Taken]) -> list[Detail]:
        """Ask the cards that are awake for the rest, every ``config.detail_seconds``."""
        if not self._beat.due(self._clock() // 1_000_000):
            return []
        awake = ((card, d) for card, d in self._devices.items() if not taken[card].gap)
        return [said for card, d in awake for said in details(card, d.key, taken[card])]

    def _is_new(self, card: Card, device: Device | None, now: Taken) -> bool:
        if device is not None:
            return device.key not in self._awake
        return not now.silent and card.key(self._config.node) not in self._awake

    def _test(self, cards: Mapping[Card, Taken]) -> dict[Card, bool]:
        """Return for each card with an energy counter whether it agrees with power."""
        before = {card: said for card, said in cards.items() if said.metrics.energy_uj is not None}
        counts = dict.fromkeys(before, False)
        for _ in range(TESTS):
            if all(counts.values()):
                break
            self._sleep(TEST_SECONDS)
            after = {card: card.take(self._clock()) for card in before}
            counts = {card: counts[card] or agree(before[card], after[card]) for card in before}
            before = after
        for card in (card for card, counted in counts.items() if not counted):
            log.warning("%s: frozen_counter: energy disagrees with power, which is used", card.name)
        return counts

    def _describe(self, key: str, card: Card, first: Taken, counts: Mapping[Card, bool]) -> Device:
        """Return the device; one that cannot be read now keeps what was found before."""
        known = self._awake.get(key)
        if first.gap and known is not None:
            return replace(known, name=card.name)
        counted = counts.get(card, known is not None and known.method is Method.COUNTER)
        module = card.is_apu()
        device = Device(
            key=key,
            kind=Kind.MODULE if module else Kind.GPU,
            node=self._config.node,
            source=self.name,
            name=card.name,
            vendor="AMD",
            model=card.model(),
            serial=card.serial(),
            driver=read_text(self._config.roots.sysfs / "module" / DRIVER / "version"),
            firmware=card.firmware(),
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope="module" if module else "gpu",
            method=Method.COUNTER if counted else Method.INTEGRAL,
            uncertainty_ratio=UNCERTAINTY_RATIO,
            power_limit_watts=None if first.gap else card.limit_watts(),
            counter_range_uj=first.metrics.range_uj if counted else None,
        )
        if not first.gap:
            self._awake[key] = device
        return device


def create(config: Config) -> Amdgpu:
    """Build the source; nothing is opened before ``discover``."""
    return Amdgpu(config)


def _reading(device: Device, now: Taken) -> Reading:
    ts_ms = now.ts_ns // 1_000_000
    energy = now.metrics.energy_uj if device.method is Method.COUNTER else None
    if energy is None and now.power_watts is None:
        return Reading(device.key, ts_ms, gap=now.gap or "frozen_counter")
    return Reading(
        device.key,
        ts_ms,
        power_watts=now.power_watts,
        energy_uj=energy,
        utilization_ratio=now.utilization_ratio,
        memory_used_bytes=now.memory_used_bytes,
        temperature_celsius=now.temperature_celsius,
    )
