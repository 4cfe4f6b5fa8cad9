"""Rows that are made of many requests at once are those of each, in the order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures import otlp_bodies as otlp
from tests.fixtures.facts import facts

from wattshed_collector.errors import Permanent
from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.security.tenancy import Tenancy
from wattshed_collector.store.client import Client
from wattshed_collector.store.held import Held, Key
from wattshed_collector.store.insert import Frame, Insert
from wattshed_collector.store.limits import Changes
from wattshed_collector.store.native import encode
from wattshed_collector.store.rows import Ids, tables
from wattshed_collector.store.schema import TABLES
from wattshed_collector.store.stacks import Numbers, Rows, by_table, spread
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, stable_id


def of_host(layout: Sequence[otlp.Series], host: str) -> list[otlp.Series]:
    """Return the same series of another machine."""
    told = [dict(one.attributes) for one in layout]
    for attributes in told:
        if "hw.id" in attributes:
            attributes["hw.id"] = attributes["hw.id"].replace("n1", host)
    return [replace(one, attributes=own) for one, own in zip(layout, told, strict=True)]


def native(frames: Sequence[Frame]) -> dict[str, bytes]:
    """Return the bytes of each table, columns in the order of the schema."""
    said = {}
    for part in frames:
        columns = {name: part.columns[name] for name in TABLES[part.table] if name in part.columns}
        said[part.table] = encode(Frame(part.table, columns)).body
    return said


def numbers_of(reader: otlp.Both, host: str) -> tuple[Batch, Numbers]:
    batch, (rows,) = reader.decode(otlp.frames(2, host=host)[1])
    assert isinstance(rows, Numbers)
    return batch, rows


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_group_is_its_members_in_their_order(data: st.DataObject) -> None:
    """Of any shapes and machines, some of them odd, the same device more than once."""
    some = st.lists(otlp.series, min_size=1, max_size=8)
    layouts = st.sampled_from(data.draw(st.lists(some, min_size=1, max_size=3)))
    sent = st.lists(st.tuples(layouts, st.sampled_from(("n1", "n2", "n3"))), min_size=2, max_size=8)
    reader, group = otlp.Both(), list[Rows]()
    for layout, host in data.draw(sent):
        said = data.draw(st.lists(otlp.numbers, min_size=len(layout), max_size=len(layout)))
        batch, rows = reader.decode(otlp.body(of_host(layout, host), said, host=host))
        group += (*tables(batch, Ids()), *rows)
    assert native(by_table(group)) == native(by_table(spread(group)))


def test_machines_of_one_exporter_have_one_shape() -> None:
    reader = otlp.Both()
    first, *others = (numbers_of(reader, host)[1] for host in ("n1", "n2", "n3"))
    assert len({first.shape, *(other.shape for other in others)}) == 1
    assert all(other.devices.tolist() != first.devices.tolist() for other in others)


def test_what_numbers_take_is_told_from_above() -> None:
    _, rows = numbers_of(otlp.Both(), "n1")
    made = rows.frames()
    columns = [column for part in made for column in part.columns.values()]
    said = sum(column.present.nbytes for column in columns if column.present is not None)
    assert sum(column.values.nbytes for column in columns) + said <= rows.size_bytes
    assert sum(map(len, made)) == len(rows) == 12 + 1


def test_numbers_are_counted_as_their_rows_are() -> None:
    batch, rows = numbers_of(otlp.Both(), "n1")
    told = Telemetry(), Telemetry()
    ways: tuple[tuple[Rows, ...], ...] = (rows,), rows.frames()
    for telemetry, said in zip(told, ways, strict=True):
        telemetry.durable("otlp", batch, otlp.NOW_S, said)
    names = [f"wattshed_collector_{kind}_total" for kind in ("ticks", "details")]
    names.append("wattshed_collector_lag_seconds_sum")
    one, other = (
        [telemetry.registry.get_sample_value(name, {"receiver": "otlp"}) for name in names]
        for telemetry in told
    )
    assert one == other
    assert one[0] == 12


def test_rows_of_anothers_devices_are_taken_out() -> None:
    reader = otlp.Both()
    who = Identity("n1", frozenset({Role.INGEST}), nodes=("n1",))
    batch, rows = numbers_of(reader, "n1")
    mine = Tenancy().check(who, batch, (rows,))
    assert facts(mine.batch, mine.frames)["tick"] == facts(batch, (rows,))["tick"]
    batch, rows = numbers_of(reader, "n2")
    theirs = Tenancy().check(who, batch, (rows,))
    assert (theirs.frames, theirs.batch.devices) == ((), ())
    assert theirs.batch.rejected["not_yours"] >= len(rows)


class Keeping:
    """A sink that keeps rows, and refuses a group that has some in it of one device."""

    def __init__(self, refused: str) -> None:
        self.rows: Counter[str] = Counter()
        self._refused = stable_id(refused).to_bytes(8, "little")

    def write(self, inserts: Sequence[Insert]) -> None:
        if any(self._refused in insert.body for insert in inserts):
            raise Permanent("refused")
        self.rows.update({insert.table: insert.rows for insert in inserts})

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return {}

    def limits(self) -> Changes:
        return {}


def no_client() -> Client:
    raise AssertionError("nothing is to be asked of the store")


def test_numbers_that_cannot_be_written_stand_alone() -> None:
    reader, sink = otlp.Both(), Keeping("n5/gpu2")
    writer = Writer(no_client, sink=sink, window_seconds=0.3)
    sent = [numbers_of(reader, f"n{n}") for n in range(9)]
    futures = [writer.submit(batch, (rows,)) for batch, rows in sent]
    assert [n for n, future in enumerate(futures) if future.exception(10)] == [5]
    writer.close()
    assert (sink.rows["tick"], writer.counters.ticks) == (8 * 12, 8 * 12)
    assert writer.counters.details == 8 * sent[0][1].shape.details + sum(
        len(batch.details) for n, (batch, _) in enumerate(sent) if n != 5
    )
    assert writer.pulse.newest_ms() == max(rows.newest_ms for _, rows in sent)
