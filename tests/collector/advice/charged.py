"""Hours as the ledger would have charged them, planted as columns: constant watts, even outcomes.

What the ledger makes of readings is tested with the ledger; here only what is found in its hours.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wattshed_collector import advice_book
from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.quality import Score
from wattshed_collector.store import factors, grid, quality
from wattshed_collector.store.advice import Wanted
from wattshed_collector.store.grid import Told
from wattshed_exporter.model import Batch, Detail, Device, Kind, Workload, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR, MINUTE = 3600, 60
BASE = int(time.time()) // HOUR * HOUR - 60 * HOUR
DAY = 24
WATTS, BARE = 400.0, 50.0
ACTIVE, IDLE, FREE = "active", "idle_held", "idle_unallocated"
NOTHING: Mapping[str, float] = {}
LIMIT = "wattshed_power_limit_bound_watts"
Row = dict[str, Any]


class Charged:
    """Gathers hours, numbered from BASE on; ``write`` puts them into the store.

    ``pue`` and ``price`` (EUR a kilowatt hour) are those of each site, where they are known.
    """

    def __init__(
        self, bed: Bed, pue: Mapping[str, float] = NOTHING, price: Mapping[str, float] = NOTHING
    ) -> None:
        self.bed, self._pue, self._price = bed, pue, price
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, Workload] = {}
        self._details: list[Detail] = []

    def hold(
        self,
        key: str,
        each: float | None = None,
        *,
        start: int = 0,
        end: int = DAY,
        watts: float = WATTS,
        class_: str = ACTIVE,
        limit: float | None = None,
        site: str = "dub",
        tier: str = "datacenter",
        hardware: str = "H100",
        gpu: str = "",
        device_kind: Kind = Kind.GPU,
        tokens: Mapping[str, float] = NOTHING,
        **of: str,
    ) -> None:
        """Have a workload hold a GPU from hour ``start`` until ``end`` and make one request for
        ``each`` joules (None: none at all), and with it ``tokens`` by kind."""
        named = {"name": key, "kind": "inference", "team": "t", "owner": "ada", "model": "llama"}
        self._workloads[key] = Workload(key, **{**named, **of})
        device = Device(f"gpu-{gpu or key}", device_kind, "n", "nvml", model=hardware, site=site,
                        tier=tier)  # fmt: skip
        if limit is not None:
            at = (BASE + start * HOUR) * 1000
            self._details.append(Detail(device.key, LIMIT, at, limit, ("requested",)))
        made = {} if each is None else {"request": 1.0, **tokens}
        for hour in range(start, end):
            self._charge(device, stable_id(key), hour, watts, class_)
            if made:
                self._make(device, stable_id(key), hour, watts, {
                    kind: many * watts * HOUR / (each or 1.0) for kind, many in made.items()
                })  # fmt: skip
        self._rows["outcome_kind"] += [
            {"workload_id": stable_id(key), "kind": kind, "is_made": True, "version": 1}
            for kind in made
        ]

    def free(self, gpu: str, hardware: str, site: str, end: int) -> None:
        """Have a GPU that nobody holds idle until hour ``end``."""
        device = Device(f"gpu-{gpu}", Kind.GPU, "n", "nvml", model=hardware, site=site)
        for hour in range(end):
            self._charge(device, 0, hour, BARE, FREE)

    def _charge(self, device: Device, workload: int, hour: int, watts: float, class_: str) -> None:
        known = self._devices.setdefault(device.key, device)
        joules = watts * HOUR
        row: Row = {
            "t": BASE + hour * HOUR, "workload_id": workload, "class": class_, "joules": joules,
            "seconds": HOUR, "facility_joules": _times(joules, self._pue.get(known.site)),
            "cost": _times(joules / 3.6e6, self._price.get(known.site)),
            "currency": "EUR" if known.site in self._price else "", "version": 1,
        }  # fmt: skip
        self._rows["charge_1h"].append({**row, "device_id": stable_id(device.key)})
        self._rows["workload_1h"].append({**row, "site": known.site})
        part = {name: row[name] for name in ("workload_id", "class", "version")}
        self._rows["workload_1m"] += [
            {**part, "t": at, "site": known.site, "joules": watts * MINUTE, "seconds": MINUTE}
            for at in range(row["t"], row["t"] + HOUR, MINUTE)
            if device.key.endswith("held")
        ]

    def _make(
        self, device: Device, workload: int, hour: int, watts: float, made: Mapping[str, float]
    ) -> None:
        joules = watts * HOUR
        of = {
            "t": BASE + hour * HOUR, "workload_id": workload, "hardware": device.model,
            "site": device.site, "version": 1,
        }  # fmt: skip
        energy = {
            "kind": "", "count": 0.0, "active_joules": joules, "loaded_joules": joules,
            "facility_joules": _times(joules, self._pue.get(device.site)),
        }  # fmt: skip
        nothing = dict.fromkeys(("active_joules", "loaded_joules", "facility_joules"))
        self._rows["outcome_1h"] += [
            {**of, **energy},
            *({**of, **nothing, "kind": kind, "count": count} for kind, count in made.items()),
        ]

    def write(self, until: int) -> None:
        """Write what was gathered, as charged until an hour."""
        end = BASE + until * HOUR
        told = tuple(self._devices.values()), tuple(self._workloads.values()), self._details
        self.bed.write(Batch(devices=told[0], workloads=told[1], details=tuple(told[2])))
        self._rows["idle_hour"] = [
            {"hour": BASE, "device_id": stable_id(key), "watts": BARE, "bare_watts": BARE}
            for key in self._devices
        ]
        self._rows["ledger_hour"] = [{"t": at, "version": 1} for at in range(BASE, end, HOUR)]
        self._rows["ledger_state"] = [
            {"name": "charges", "watermark": end * 1_000_000, "settled": end * 1000,
             "version": until}
        ]  # fmt: skip
        for table, rows in self._rows.items():
            if rows:
                self.bed.client.insert(table, {name: [r[name] for r in rows] for name in rows[0]})
        self._rows.clear()
        self._details.clear()

    def found(self, until: int = DAY) -> dict[str, Row]:
        """Write what was gathered, look for advice, and return it by workload."""
        self.write(until)
        client = self.bed.client
        advice_book.look(client, int(time.time()))
        rows = advice_book.listed(client, Wanted())["advice"]
        return {row["subject"].partition("@")[0]: row for row in rows}

    def score(self, model: str, **of: float) -> None:
        """Tell scores of precisions of a model."""
        now = time.time()
        scores = [
            Score(model, precision, "mmlu", score, "higher", int(now * 1000) - 1000)
            for precision, score in of.items()
        ]
        quality.put(self.bed.client, scores, now)

    def tell(self, zones: Mapping[str, tuple[str, list[Step]]]) -> None:
        """Tell PUE, price and, by site, the zone and what it emits."""
        rows = [
            Factor(kind, site, BASE, value, unit)
            for kind, unit, values in (("pue", "", self._pue), ("price", "EUR/kWh", self._price))
            for site, value in values.items()
        ]
        factors.put(self.bed.client, rows, BASE)
        client = self.bed.client
        grid.put_zones(client, {site: (zone, None, "") for site, (zone, _) in zones.items()}, BASE)
        told = [
            Told("carbon", zone, "g/kWh", "a test", BASE, said) for zone, said in zones.values()
        ]
        grid.put(client, told, BASE)


def _times(amount: float, factor: float | None) -> float | None:
    return None if factor is None else amount * factor
