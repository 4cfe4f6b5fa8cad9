"""Bodies that can never be taken: kept with the reason, bounded, sent again when that helps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.cli import main
from wattshed_collector.config import Config, DeadLetterFolder, Ledger
from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.dead_letters import DeadLetters, Letter

if TYPE_CHECKING:
    from tests.collector.conftest import Running

LETTER = Letter("otlp", "/v1/metrics", "lab", 400, "malformed", "it is no request")
Collect = Callable[[Config], AbstractContextManager["Running"]]


class Clock:
    """Seconds that pass one at a time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def folder(path: Path, max_bytes: int = 1000, max_letters: int = 10) -> DeadLetters:
    return DeadLetters(path / "letters", max_bytes, max_letters, Clock())


class TestFolder:
    def test_what_is_kept_is_there_with_the_reason(self, tmp_path: Path) -> None:
        letters = folder(tmp_path)
        assert letters.list() == []
        assert letters.keep(LETTER, b"\x00body") == {"kept": 1}
        (kept,) = letters.list()
        assert (kept.receiver, kept.sender, kept.reason, kept.message, kept.size) == (
            *("otlp", "lab", "malformed", "it is no request", 5),
        )
        assert (kept.first, kept.last, kept.times) == (1001.0, 1001.0, 1)
        assert letters.get(kept.id) == (kept, b"\x00body")

    def test_the_same_body_again_is_one_letter(self, tmp_path: Path) -> None:
        letters = folder(tmp_path)
        results = [letters.keep(LETTER, b"x") for _ in range(3)]
        assert results == [{"kept": 1}, {"again": 1}, {"again": 1}]
        (kept,) = letters.list()
        assert (kept.first, kept.last, kept.times) == (1001.0, 1003.0, 3)

    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        folder(tmp_path).keep(LETTER, b"x")
        found = [tmp_path / "letters", *(tmp_path / "letters").iterdir()]
        assert [file.stat().st_mode & 0o077 for file in found] == [0, 0, 0]

    def test_beyond_the_number_the_oldest_goes(self, tmp_path: Path) -> None:
        letters = folder(tmp_path, max_letters=2)
        for body in (b"a", b"b"):
            letters.keep(LETTER, body)
            time.sleep(0.01)  # their files' times tell them apart
        assert letters.keep(LETTER, b"c") == {"kept": 1, "dropped": 1}
        assert [letters.get(kept.id)[1] for kept in letters.list()] == [b"b", b"c"]

    @settings(max_examples=25, deadline=None)
    @given(bodies=st.lists(st.binary(min_size=1, max_size=60), max_size=12))
    def test_the_bounds_hold_whatever_comes(
        self, tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]
    ) -> None:
        path = tmp_path_factory.mktemp("bounds")
        letters = folder(path, max_bytes=50, max_letters=3)
        done = [letters.keep(LETTER, body) for body in bodies]
        kept = letters.list()
        assert len(kept) <= 3
        assert sum(letter.size for letter in kept) <= 50
        files = list((path / "letters").iterdir()) if (path / "letters").exists() else []
        assert len(files) == 2 * len(kept)
        told = {name: sum(result.get(name, 0) for result in done) for name in ("kept", "dropped")}
        assert told["kept"] - told["dropped"] == len(kept)
        assert all(("too_large" in r) == (len(b) > 50) for r, b in zip(done, bodies, strict=True))

    def test_what_a_crash_left_behind_is_no_letter_and_is_swept_away(self, tmp_path: Path) -> None:
        letters = folder(tmp_path)
        letters.keep(LETTER, b"x")
        for name in ("1" * 16 + ".body", "2" * 16 + ".json.new"):
            (tmp_path / "letters" / name).write_bytes(b"half")
        (tmp_path / "letters" / ("3" * 16 + ".json")).write_bytes(b'{"id": 3')
        assert len(letters.list()) == 1
        letters.keep(LETTER, b"y")
        assert not list((tmp_path / "letters").glob("[12]*.[bj]*"))
        assert len(letters.list()) == 2

    def test_a_folder_that_cannot_be_written_fails_nobody(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "letters").write_text("a file")
        letters = folder(tmp_path)
        assert [letters.keep(LETTER, b"x") for _ in range(2)] == [{"failed": 1}] * 2
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("wrong", ["../../etc/passwd", "", "0" * 16, "x" * 16])
    def test_what_is_no_letter(self, tmp_path: Path, wrong: str) -> None:
        for ask in (folder(tmp_path).get, folder(tmp_path).drop):
            with pytest.raises(InvalidInput):
                ask(wrong)


def test_a_server_has_no_folder_unless_one_is_named() -> None:
    assert DeadLetterFolder().where("/data") == Path("/data/dead-letters")
    assert DeadLetterFolder().where("https://clickhouse:8443") is None
    assert DeadLetterFolder(folder=Path("/x")).where("https://clickhouse:8443") == Path("/x")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, collect: Collect) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ledger=Ledger(interval_seconds=3600.0),
    )
    with collect(config) as running:
        yield running


class Command:
    """``wattshed dead-letters`` on the collector's folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], data: str) -> None:
        self._capsys = capsys
        self._data = data

    def __call__(self, action: str, *arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["dead-letters", action, "--data", self._data, *arguments])
        told = self._capsys.readouterr()
        return int(str(ended.value.code)), told.out + told.err

    def letters(self) -> list[dict[str, Any]]:
        status, said = self("list", "--json")
        assert status == 0
        letters: list[dict[str, Any]] = json.loads(said)
        return letters


@pytest.fixture
def command(collector: Running, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, collector.config.data)


def gauge(name: str) -> bytes:
    at = str(time.time_ns())
    point = {"timeUnixNano": at, "asDouble": 4.5}
    metric = {"name": name, "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


def test_a_malformed_body_is_kept_and_nothing_else_of_the_request(
    collector: Running, command: Command
) -> None:
    body = b"\xff\xffhello [red]"
    headers = {"Authorization": "Bearer s3cret", "Cookie": "s3cret", "Content_Encoding": ""}
    for _ in range(2):
        assert collector.post(body, **headers).status == 400
    (kept,) = command.letters()
    assert (kept["receiver"], kept["reason"], kept["times"]) == ("otlp", "malformed", 2)
    letters = Path(collector.config.data) / "dead-letters"
    assert not [file for file in letters.iterdir() if b"s3cret" in file.read_bytes()]
    assert (letters / f"{kept['id']}.body").read_bytes() == body
    assert collector.counter("dead_letters_total", result="again") == 1

    status, said = command("list")  # 80 columns wide, and the ID can be typed
    assert (status, kept["id"] in said) == (0, True)
    status, said = command("show", kept["id"])
    assert (status, "reason: malformed" in said) == (0, True)
    status, said = command("retry", kept["id"])
    assert (status, said) == (1, f"{kept['id']}: refused: {kept['message']}\n")
    assert command("drop", kept["id"]) == (0, f"{kept['id']}: dropped\n")
    assert command("list") == (0, "no dead letters\n")


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/v1/allocations", b'[{"device": 7}]', "malformed"),
        ("/v1/factors", b"{", "malformed"),
        ("/v1/history/slurm?cluster=a&token=s3cret", b"[7]", "malformed"),
    ],
)
def test_documents_as_well(
    collector: Running, command: Command, path: str, body: bytes, reason: str
) -> None:
    assert collector.send(path, body).status == 400
    (kept,) = command.letters()
    assert (kept["path"], kept["reason"]) == (path.partition("&")[0], reason)
    assert command("drop", "--all")[0] == 0


def test_what_was_not_read_or_may_come_again_is_no_letter(
    collector: Running, command: Command
) -> None:
    assert collector.post(b"x", Content_Type="text/plain").status == 415
    assert collector.post(b"x", Content_Encoding="br").status == 415
    assert collector.post(b"x" * (collector.config.ingest.max_body_bytes + 1)).status == 413
    assert command.letters() == []


def test_what_the_store_will_not_have_holds_nobody_up_and_is_taken_later(
    collector: Running, command: Command
) -> None:
    path = str(Path(collector.config.data) / "chdb")
    engine = clickhouse_connect.get_client(interface="chdb", path=path)
    engine.command("RENAME TABLE metric_sample TO away")
    try:
        answer = collector.post(gauge("fans"), Content_Type="application/json")
        assert (answer.status, "away" in str(answer.json)) == (400, False)
        named = {"device": "d", "workload": "w", "start": time.time() - 60, "end": time.time()}
        assert collector.send("/v1/allocations", json.dumps([named]).encode()).status == 200
        (kept,) = command.letters()
        assert (kept["reason"], kept["content_type"]) == ("not_storable", "application/json")
    finally:
        engine.command("RENAME TABLE away TO metric_sample")
        engine.close()
    assert command("retry", "--all", "--json") == (0, f'{{\n  "{kept["id"]}": "taken"\n}}\n')
    assert command.letters() == []
    assert collector.rows("SELECT metric, value FROM v_metric") == [("fans", 4.5)]


def test_wrong_usage_is_told(command: Command) -> None:
    assert command("drop") == (
        2,
        "wattshed: name the letters by their ID, or all of them by --all\n",
    )
    assert command("show", "nothing")[0] == 2
    with_server = ("--data", "https://clickhouse:8443")
    assert "name --folder" in command("list", *with_server)[1]
