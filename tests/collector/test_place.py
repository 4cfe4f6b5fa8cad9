"""A collector on a server: its tables, who makes them, and what the command line does there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.collector.conftest import Bed, collecting
from tests.fixtures.clickhouse import Fault, Front, Request, served

from wattshed_collector import cli, place
from wattshed_collector.config import Config, Ledger, Migrate
from wattshed_collector.config import Store as Section
from wattshed_collector.errors import Denied, Permanent, Retryable
from wattshed_collector.store.layout import is_mutation
from wattshed_collector.store.lease import Lease, Timing
from wattshed_collector.store.migrate import (
    LEASE,
    Layout,
    await_migrated,
    background,
    migrate_server,
    migrations,
    missing,
)
from wattshed_collector.store.server import Node
from wattshed_collector.store.users import people, statements
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

FOREVER = Layout(raw_days=0, minute_days=0, database="apart")


@pytest.fixture
def front(bed: Bed) -> Iterator[Front]:
    """A server whose database ``apart`` is not there yet."""
    bed.client.command("DROP DATABASE IF EXISTS apart")
    with served(Path(bed.store.target) / "chdb", user="u", password="hush hush") as front:
        yield front


def config(front: Front, word: Path, **store: object) -> Config:
    word.write_text("hush hush\n")
    section = Section(user="u", database="apart", password_file=word, **store)  # type: ignore[arg-type]
    return Config(data=f"http://127.0.0.1:{front.port}", listen="127.0.0.1:0", store=section)


def pushed(start_ms: int) -> bytes:
    """Two minutes of ten watts, as the exporter sends them."""
    device = Device("d", Kind.GPU, "n", "nvml")
    ticks = tuple(
        Tick("d", start_ms + n * 1000, 1000, Method.INTEGRAL, power_watts=10.0) for n in range(121)
    )
    return Encoder({"wattshed.node": "n"}, "0").request(Batch(devices=(device,), ticks=ticks))


def test_a_collector_makes_its_tables_takes_in_and_charges(front: Front, tmp_path: Path) -> None:
    told = replace(config(front, tmp_path / "word"), ledger=Ledger(interval_seconds=0.2))
    assert told.problems() == told.store.problems() == []
    with collecting(told) as collector:
        assert collector.post(pushed(int(time.time() * 1000) - 180_000)).status == 200
        deadline = time.monotonic() + 120
        while not (rows := collector.get("/v1/energy?by=node").json["rows"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert sum(row["joules"] for row in rows) == pytest.approx(1200.0)
    assert {r.parameters.get("database") for r in front.seen[-5:]} == {"apart"}
    assert missing(place.store(told).client()) == []
    never = config(front, tmp_path / "word", migrate=Migrate.NEVER)
    place.ready(never, place.store(never), FOREVER, pytest.fail)


def test_a_store_that_lacks_its_tables_is_refused_or_waited_for(
    front: Front, tmp_path: Path
) -> None:
    told = config(front, tmp_path / "word", migrate=Migrate.NEVER)
    store = place.store(told)
    store.client(database="default").command("CREATE DATABASE apart")
    with pytest.raises(Permanent, match=r"lacks \d+ migrations, from 0001 on: run `wattshed mig"):
        place.ready(told, store, FOREVER, pytest.fail)
    said: list[str] = []
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        migrate_server(store, FOREVER, sleep=lambda _: None)

    await_migrated(store.client, wait=True, told=said.append, sleep=sleep)
    assert len(waits) == 1
    assert "lacks" in said[0]


def test_a_server_that_is_away_is_waited_for_but_not_for_what_it_lacks(
    front: Front, tmp_path: Path
) -> None:
    told = config(front, tmp_path / "word", migrate=Migrate.NEVER)
    front.stop()
    said: list[str] = []

    async def sleep(seconds: float) -> None:
        said.append(f"{seconds:.0f} s")
        front.start()

    with pytest.raises(Retryable, match=r"(?i)code: 81"):
        asyncio.run(place.await_server(told, said.append, sleep))
    assert said[0].startswith("waiting for the store: ")
    assert said[1:] == ["5 s"]


def test_one_that_denies_us_is_not_waited_for(front: Front, tmp_path: Path) -> None:
    told = config(front, tmp_path / "word", migrate=Migrate.WAIT)
    (tmp_path / "word").write_text("another")
    with pytest.raises(Denied, match=r"store\.password_file"):
        asyncio.run(place.await_server(told, pytest.fail))


def test_one_migrator_works_at_a_time(front: Front, tmp_path: Path) -> None:
    store = place.store(config(front, tmp_path / "word"))
    outside = store.client(database="default")
    outside.command("CREATE DATABASE apart")
    inside = store.client()
    (made,) = [s for m in migrations() for s in m.statements(FOREVER) if " lease " in s[:60]]
    inside.command(made)
    other = Lease(inside, LEASE, "other", Timing(settle_seconds=60), sleep=lambda _: None)
    assert other.hold()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert missing(inside), "it works while the other does"
        other.release()

    assert migrate_server(store, FOREVER, sleep) == migrations()
    assert waits
    assert migrate_server(store, FOREVER, sleep) == []


def test_what_rewrites_rows_is_seen_until_it_is_done(bed: Bed) -> None:
    row: dict[str, list[object]] = {
        "start_ts": [0],
        "idle": ["holder"],
        "idle_below_e4": [1],
        "host_remainder": ["x"],
    }
    bed.client.insert("policy", {**row, "version": [1]})
    slow = "ALTER TABLE policy UPDATE idle = toString(sleepEachRow(0.5)) WHERE 1"
    assert is_mutation(slow)
    bed.client.command(f"{slow} SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1")
    assert [(step.table, step.parts_to_do) for step in background(bed.client)] == [("policy", 1)]
    while background(bed.client):
        time.sleep(0.02)
    assert bed.client.rows("SELECT idle FROM policy") == [("0",)]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_command_line_migrates(
    front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word, file = tmp_path / "word", tmp_path / "c.yaml"
    word.write_text("hush hush")
    file.write_text(f"store: {{user: u, database: apart, password_file: {word}}}\n")
    place = ("--config", str(file), "--data", front.url.replace("u:hush hush@", ""))
    status, out = run(capsys, "migrate", *place, "--dry-run", "--json")
    shown = json.loads(out)
    assert (status, len(shown["migrations"])) == (0, len(migrations()))
    assert any(s.startswith("CREATE TABLE IF NOT EXISTS tick") for s in shown["statements"])
    assert run(capsys, "migrate", *place)[0] == 0
    status, out = run(capsys, "migrate", *place, "--json")
    assert (status, json.loads(out)["migrations"]) == (0, [])
    assert run(capsys, "migrate", "--data", "http://127.0.0.1:1")[0] == 1


def test_the_command_line_prints_users(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = run(capsys, "sql", "users", "--cluster", "fleet", "--sharded")
    assert status == 0
    assert "GRANT ON CLUSTER 'fleet' SELECT, INSERT ON `wattshed_shard`.tick" in out
    assert out.rstrip().endswith(";")


def test_a_move_needs_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "move", "--to", str(tmp_path / "folder"))[0] == 2


class TestSection:
    @pytest.mark.parametrize(
        ("section", "said"),
        [
            (Section(hosts=("a/b",)), "hosts: a/b is not host or host:port"),
            (Section(hosts=("u:secret@h",)), "hosts: ***@h is not host or host:port"),
            (Section(sharded=True), "sharded: needs the name of a cluster"),
            (Section(key_file=Path("/dev/null/x")), "key_file: needs cert_file"),
            (Section(ca_file=Path("/nowhere/ca")), "ca_file: there is no file /nowhere/ca"),
            (Section(insert_quorum="most"), "insert_quorum: 'most' is neither"),
            (Section(cluster="it's"), 'cluster: "it\'s" has a quote'),
            (Section(query_seconds=0), "query_seconds: must be above 0"),
        ],
    )
    def test_what_is_wrong_is_said(self, section: Section, said: str) -> None:
        found = "\n".join(section.problems())
        assert said in found
        assert "secret" not in found

    def test_a_folder_has_no_cluster(self) -> None:
        assert Config(store=Section(cluster="c")).problems() == [
            "store: is about a server, and data is a folder"
        ]
        assert Config(data="http://u:hush@").problems() == ["data: 'http://u:***@' names no host"]

    def test_the_url_and_the_section_say_it_together(self) -> None:
        section = Section(hosts=("b", "c:9"), cluster="f", database="e", insert_quorum="2")
        told = section.server("https://u:p@a/d?max_threads=1")
        assert told.nodes == (Node("a", 8443), Node("b", 8443), Node("c", 9))
        assert (told.user, told.database, told.secret()) == ("u", "e", "p")
        assert told.settings == {"insert_quorum": "2", "max_threads": "1"}
        assert section.layout(1, 2, "e") == Layout("f", 1, 2, "", "e")


def of_access(request: Request) -> bool:
    return request.text.startswith(("CREATE ROLE", "CREATE USER", "ALTER USER", "GRANT"))


class TestUsers:
    """What manages access is heard by the stand-in, which has no users, and not run."""

    def words(self, folder: Path, **told: str) -> str:
        for user, word in told.items():
            (folder / user).write_text(f"{word}\n")
        return str(folder)

    def test_roles_come_before_users_and_no_password_is_sent(
        self, front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        front.faults = [Fault(of_access, times=1000, status=200)]
        folder = self.words(tmp_path, wattshed_collector="one word", wattshed_migrate="another")
        data = ("--data", f"{front.url}/apart")
        status, out = run(capsys, "sql", "users", "--apply", *data, "--passwords", folder)
        assert (status, "for wattshed_collector, wattshed_migrate" in out) == (0, True)
        heard = [(r.text, r.parameters) for r in front.seen if of_access(r)]
        wanted = statements(Layout(database="apart"))
        assert [text for text, _ in heard[: len(wanted)]] == wanted
        created, altered, granted = heard[len(wanted) : len(wanted) + 3]
        assert created[0].startswith("CREATE USER IF NOT EXISTS wattshed_collector IDENTIFIED")
        assert altered[0].startswith("ALTER USER wattshed_collector IDENTIFIED")
        for _, told in (created, altered):
            assert told["param_hash"] == hashlib.sha256(b"one word").hexdigest()
        assert granted[0].endswith(" TO wattshed_collector")
        assert not any("wattshed_grafana" in text for text, _ in heard)
        assert not any("one word" in f"{r.text}{r.parameters}" for r in front.seen)

    def test_what_a_server_refuses_is_said(
        self, front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The engine itself says that this user may not make roles."""
        assert run(capsys, "sql", "users", "--apply", "--data", front.url)[0] == 1

    def test_files_without_a_password_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = self.words(tmp_path, wattshed_grafana="")
        words = ("sql", "users", "--apply", "--data", "http://127.0.0.1:1", "--passwords")
        assert run(capsys, *words, folder)[0] == 2
        assert run(capsys, *words, str(tmp_path / "nowhere"))[0] == 2
        assert run(capsys, "sql", "users", "--apply", "--data", str(tmp_path))[0] == 2


def test_the_engine_puts_the_hash_into_the_statement(bed: Bed) -> None:
    ((text, _), *_) = people(FOREVER, {"wattshed_grafana": "word"})
    assert text.endswith("BY {hash:String} SETTINGS readonly = 2")
    with pytest.raises(Permanent, match="hash"):  # it is looked for before rights are
        bed.client.command(text)


class TestPatience:
    def test_a_server_that_comes_back_is_used(self) -> None:
        answers: list[Exception | str] = [Retryable("away"), Retryable("away"), "done"]
        clock = [0.0]

        def act() -> str:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def sleep(seconds: float) -> None:
            clock[0] += seconds

        said: list[str] = []
        assert place.patiently(act, 10.0, said.append, sleep, lambda: clock[0]) == "done"
        assert said == ["waiting for the store: away"] * 2

    @pytest.mark.parametrize("error", [Retryable("away"), Denied("no"), Permanent("never")])
    def test_what_does_not_pass_is_raised(self, error: Exception) -> None:
        clock = [0.0]
        tries: list[float] = []

        def act() -> None:
            tries.append(clock[0])
            raise error

        def sleep(seconds: float) -> None:
            clock[0] += seconds

        with pytest.raises(type(error)):
            place.patiently(act, 10.0, lambda text: None, sleep, lambda: clock[0])
        assert tries == ([0.0, 5.0, 10.0] if type(error) is Retryable else [0.0])
