"""What the collector learns of the grid, and what holds while a service is away."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import grid_asks
from wattshed_collector.config import Grid, GridProvider, Service
from wattshed_collector.errors import CollectorError, StoreError
from wattshed_collector.grid.countries import of_zone
from wattshed_collector.grid.providers import ProviderError, Refused
from wattshed_collector.grid.series import Step
from wattshed_collector.grid_watch import Asked, GridWatch
from wattshed_collector.store import grid
from wattshed_collector.store.grid import Lies, Told
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.collector.conftest import Bed

HOUR = 3600
NOW = int(time.time()) // HOUR * HOUR
"""Of the present, because forecasts of long ago are not kept."""


class Known:
    """A provider that knows each hour of the past and three of the future, or fails."""

    name, kind, unit = "known", "carbon", "g/kWh"

    def __init__(self) -> None:
        self.now = NOW
        self.asked: list[tuple[str, int, int]] = []
        self.error: CollectorError | None = None
        self.forecast_error: ProviderError | None = None
        self.forecasts = 0

    async def actual(self, zone: str, start_s: int, end_s: int) -> list[Step]:
        self.asked.append((zone, start_s, end_s))
        if self.error is not None:
            raise self.error
        first = start_s // HOUR * HOUR
        return [Step(at, at + HOUR, at / HOUR % 100) for at in range(first, end_s - HOUR + 1, HOUR)]

    async def forecast(self, zone: str) -> list[Step]:
        self.forecasts += 1
        if self.forecast_error is not None:
            raise self.forecast_error
        return [Step(NOW + n * HOUR, NOW + (n + 1) * HOUR, 7.0) for n in range(3)]


class Watched:
    def __init__(self, bed: Bed, told: Grid) -> None:
        self.bed = bed
        self.provider = Known()
        self.now = float(NOW)
        self.telemetry = Telemetry()
        self.reader = Reader(bed.store.client)
        asked = [Asked(self.provider, "IE", "IRL")]
        self.watch = GridWatch(self.reader, told, asked, self.telemetry, lambda: self.now)

    async def look_at(self, now: float) -> None:
        self.now = now
        await self.watch.look()

    def requests(self, result: str, source: str = "known") -> float | None:
        return self.telemetry.registry.get_sample_value(
            "wattshed_collector_grid_requests_total", {"source": source, "result": result}
        )

    def age(self) -> float | None:
        return self.telemetry.registry.get_sample_value(
            "wattshed_collector_grid_age_seconds", {"kind": "carbon", "zone": "IE"}
        )


@pytest.fixture
def watch_of(bed: Bed) -> Iterator[Callable[[Grid], Watched]]:
    """Makes watches; who reads the store lets go of it in the end."""
    made: list[Watched] = []

    def make(told: Grid) -> Watched:
        made.append(Watched(bed, told))
        return made[-1]

    yield make
    for watched in made:
        watched.reader.close()


@pytest.fixture
def watched(watch_of: Callable[[Grid], Watched]) -> Watched:
    return watch_of(Grid(zones={"dub": "IE", "": "DE"}, backfill_days=2))


async def test_what_was_and_what_is_expected(watched: Watched) -> None:
    await watched.look_at(NOW)
    assert watched.provider.asked == [("IRL", NOW - 2 * 86400, NOW)]
    steps = grid.steps(watched.bed.client, "carbon", "IE", NOW - 2 * HOUR, NOW)
    assert [(s.start_s, s.value) for s in steps] == [
        (at, at / HOUR % 100) for at in (NOW - 2 * HOUR, NOW - HOUR)
    ]
    expected = grid.expected(watched.bed.client, "carbon", "IE")
    assert expected is not None
    assert len(expected.steps) == 3
    assert watched.age() == 0.0
    await watched.look_at(NOW + 899)
    assert len(watched.provider.asked) == 1
    await watched.look_at(NOW + HOUR)
    # The last day is asked for again, because services correct it.
    assert watched.provider.asked[1] == ("IRL", NOW - 86400, NOW + HOUR)
    assert watched.requests("ok") == 2


async def test_a_service_that_is_away(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.look_at(NOW)
    watched.provider.error = ProviderError("it answers 500")
    with caplog.at_level(logging.INFO):
        dues = []
        for due in (NOW + 900, NOW + 1800, NOW + 3600, NOW + 7200):
            await watched.look_at(due - 1)
            dues.append(len(watched.provider.asked))
            await watched.look_at(due)
        assert dues == [1, 2, 3, 4]
        assert watched.requests("failed") == 4
        assert watched.age() == 7200.0
        assert len(grid.steps(watched.bed.client, "carbon", "IE", NOW - HOUR, NOW)) == 1
        watched.provider.error = None
        await watched.look_at(NOW + 14400)
    assert [record.getMessage() for record in caplog.records] == [
        "known: it answers 500; what is known of IE stays",
        "known answers again for IE",
    ]
    assert watched.age() == 0.0


async def test_zones_follow_the_settings(bed: Bed, watch_of: Callable[[Grid], Watched]) -> None:
    for n, zones in enumerate([{"dub": "IE", "": "DE"}, {"sgp": "SG"}, {"sgp": "SG"}]):
        await watch_of(Grid(zones=zones)).look_at(NOW + n)
        lies = grid.told_zones(bed.client)
        assert {site: told.zone for site, told in lies.items() if told.zone} == zones
    told = grid.told_zones(bed.client)
    singapore = of_zone("SG")
    assert singapore is not None
    yearly = singapore.g_per_kwh, singapore.source, singapore.said_s
    # It lay with all others before.
    assert told["sgp"] == Lies("sgp", NOW + 1, "SG", *yearly)
    assert told["dub"] == Lies("dub", NOW + 1, "", None, "")
    assert bed.client.rows("SELECT count() FROM site_zone") == [(5,)]


async def test_files_are_taken_in_when_they_change(
    bed: Bed, watch_of: Callable[[Grid], Watched], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(f"start,end,zone,value\n{NOW},{NOW + 60},IE,10\n")
    watched = watch_of(Grid(files=(file,)))
    watched.provider.error = ProviderError("away")

    async def known(at: int) -> list[float | None]:
        await watched.look_at(at)
        return [s.value for s in grid.steps(bed.client, "carbon", "IE", NOW, NOW + 60)]

    assert await known(NOW) == [10.0]
    file.write_text(f"start,end,zone,value\n{NOW},{NOW + 60},IE,1234\n")
    assert await known(NOW + 5) == [1234.0]
    assert await known(NOW + 10) == [1234.0]
    file.write_text("start,end,zone,value\nbroken,,IE,1\n")
    assert await known(NOW + 15) == [1234.0]
    assert "line 2" in caplog.text
    assert (watched.requests("ok", "file"), watched.requests("failed", "file")) == (2, 1)


async def test_a_row_that_a_file_does_not_have_any_more_is_gone(
    bed: Bed, watch_of: Callable[[Grid], Watched], tmp_path: Path
) -> None:
    file = tmp_path / "grid.csv"
    watched = watch_of(Grid(files=(file,)))
    watched.provider.error = ProviderError("away")

    async def known(at: int, *rows: tuple[int, int]) -> list[tuple[int, int, float | None]]:
        said = [f"{NOW + start * HOUR},IE,{value}\n" for start, value in rows]
        file.write_text("start,zone,value\n" + "".join(said))
        await watched.look_at(NOW + at)
        steps = grid.steps(bed.client, "carbon", "IE", NOW, NOW + 9 * HOUR)
        return [((s.start_s - NOW) // HOUR, (s.end_s - NOW) // HOUR, s.value) for s in steps]

    first = await known(0, (0, 1), (2, 2), (4, 3), (6, 4))
    assert first == [(0, 2, 1.0), (2, 4, 2.0), (4, 6, 3.0), (6, 8, 4.0)]
    # What began at two begins at three, and what was before the file's first row stays.
    assert await known(5, (1, 7), (3, 2), (5, 3)) == [
        (0, 1, 1.0),
        (1, 3, 7.0),
        (3, 5, 2.0),
        (5, 7, 3.0),
    ]
    assert await known(10, (0, 1), (2, 2), (4, 3), (6, 4)) == first


async def test_files_of_one_name_do_not_take_back_each_others_rows(
    bed: Bed, watch_of: Callable[[Grid], Watched], tmp_path: Path
) -> None:
    files = tmp_path / "own" / "grid.csv", tmp_path / "bought" / "grid.csv"
    for first, file in enumerate(files):
        file.parent.mkdir()
        rows = [f"{NOW + n * HOUR},{NOW + (n + 1) * HOUR},IE,{n}\n" for n in (first, first + 2)]
        file.write_text("start,end,zone,value\n" + "".join(rows))
    watched = watch_of(Grid(files=files))
    watched.provider.error = ProviderError("away")
    await watched.look_at(NOW)
    steps = grid.steps(bed.client, "carbon", "IE", NOW, NOW + 9 * HOUR)
    assert [step.value for step in steps] == [0.0, 1.0, 2.0, 3.0]
    sources = bed.client.rows("SELECT DISTINCT source FROM v_grid ORDER BY source DESC")
    assert [source for (source,) in sources] == [f"file: {file}" for file in files]


async def test_keys_are_read_anew_for_each_question(tmp_path: Path) -> None:
    seen: list[Mapping[str, str]] = []

    async def get(url: str, headers: Mapping[str, str]) -> bytes:
        seen.append(headers)
        return b'{"data": []}'

    key = tmp_path / "key"
    told = GridProvider(
        service=Service.ELECTRICITY_MAPS, zones={"IE": "", "DE": "DE-X"}, token_file=key
    )
    asked = grid_asks.asked(Grid(providers=(told,)), get)
    assert [(one.zone, one.region) for one in asked] == [("IE", "IE"), ("DE", "DE-X")]
    with pytest.raises(ProviderError, match="FileNotFoundError"):
        await asked[0].provider.actual("IE", 0, HOUR)
    for said in ("one\n", "two\n"):
        key.write_text(said)
        assert await asked[0].provider.actual("IE", 0, HOUR) == []
    assert [headers["auth-token"] for headers in seen] == ["one", "two"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (GridProvider(), ["service: is missing", "zones: none"]),
        (
            GridProvider(service=Service.ELECTRICITY_MAPS, zones={"IE": ""}),
            ["token_file: is missing"],
        ),
        (GridProvider(service=Service.WATTTIME, zones={"IE": ""}), ["username: and password_file"]),
        (
            GridProvider(service=Service.UK_CARBON_INTENSITY, zones={"GB": ""}, url="ftp://x"),
            ["url: 'ftp://x' is not"],
        ),
        (GridProvider(service=Service.UK_CARBON_INTENSITY, zones={"GB": ""}), []),
    ],
)
def test_what_is_wrong_with_a_provider(told: GridProvider, said: list[str]) -> None:
    found = told.problems()
    assert len(found) == len(said)
    assert all(part in problem for part, problem in zip(said, found, strict=True))


async def test_what_was_is_kept_where_the_forecast_is_away(watched: Watched) -> None:
    watched.provider.forecast_error = ProviderError("it answers 503")
    await watched.look_at(NOW)
    assert watched.requests("failed") == 1
    assert len(grid.steps(watched.bed.client, "carbon", "IE", NOW - HOUR, NOW)) == 1


async def test_a_key_without_forecasts_is_not_asked_for_them_again(watched: Watched) -> None:
    watched.provider.forecast_error = Refused("it answers 403")
    await watched.look_at(NOW)
    await watched.look_at(NOW + 86400)
    assert (watched.requests("ok"), watched.requests("failed")) == (2, None)
    assert watched.provider.forecasts == 1
    assert len(grid.steps(watched.bed.client, "carbon", "IE", NOW - HOUR, NOW)) == 1


async def test_what_a_file_says_of_the_future_asks_nobody_for_it(
    watch_of: Callable[[Grid], Watched], tmp_path: Path
) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(f"start,end,zone,value\n{NOW},{NOW + 9 * 86400},IE,10\n")
    watched = watch_of(Grid(files=(file,)))
    await watched.look_at(NOW)
    assert watched.provider.asked == [("IRL", NOW - 86400, NOW)]


async def test_a_file_waits_for_a_store_that_is_away(bed: Bed, tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(f"start,end,zone,value\n{NOW},{NOW + 60},IE,10\n")
    is_away = True

    class Away(Reader):
        async def ask(self, question: Any, *arguments: Any) -> Any:
            if is_away:
                raise StoreError("away")
            return await super().ask(question, *arguments)

    reader = Away(bed.store.client)
    watch = GridWatch(reader, Grid(files=(file,)), [], Telemetry(), lambda: NOW)
    with pytest.raises(StoreError):
        await watch.look()
    is_away = False
    await watch.look()
    reader.close()
    assert len(grid.steps(bed.client, "carbon", "IE", NOW, NOW + 60)) == 1


@pytest.mark.parametrize("before", ["file: grid.csv", "file: /moved/grid.csv"])
async def test_a_file_that_lay_elsewhere_is_no_second_source(
    bed: Bed, watch_of: Callable[[Grid], Watched], tmp_path: Path, before: str
) -> None:
    hours = [Step(NOW + at * HOUR, NOW + (at + 1) * HOUR, 5.0) for at in (-9, 0, 1, 2)]
    kept = Told("carbon", "IE", "g/kWh", "another", NOW, [Step(NOW + 60, NOW + 120, 6.0)])
    grid.put(bed.client, [Told("carbon", "IE", "g/kWh", before, NOW, hours), kept], NOW)
    file = tmp_path / "grid.csv"
    file.write_text(f"start,zone,value\n{NOW},IE,1\n{NOW + 2 * HOUR},IE,2\n")
    watched = watch_of(Grid(files=(file,)))
    watched.provider.error = ProviderError("away")
    await watched.look_at(NOW + 1)
    rows = bed.client.rows("SELECT toUnixTimestamp(t), value, source FROM v_grid ORDER BY t")
    # What the file does not tell again stays, and so does what was said by others.
    assert rows == [
        (NOW - 9 * HOUR, 5.0, before),
        (NOW, 1.0, f"file: {file}"),
        (NOW + 60, 6.0, "another"),
        (NOW + 2 * HOUR, 2.0, f"file: {file}"),
    ]
