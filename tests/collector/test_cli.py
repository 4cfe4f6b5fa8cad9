"""The command line where what it is given is wrong: one sentence and a status, no stack trace."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tomllib
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import pytest

from wattshed_collector.__main__ import why
from wattshed_collector.children import check_free
from wattshed_collector.cli import COMMANDS, main, parser
from wattshed_collector.cli.access import Key
from wattshed_collector.cli.answers import Remote
from wattshed_collector.cli.devices import _age
from wattshed_collector.cli.quality import _cell
from wattshed_collector.cli.sci import _each
from wattshed_collector.cli.up import BACKUPS, _backups, _rate
from wattshed_collector.errors import EXTRAS, StoreError, missing


class NotACollector(BaseHTTPRequestHandler):
    """Answers like some other web server: a page, or a 404 with a page."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/told" + str(self.headers["Authorization"]))
            self.end_headers()
            return
        if self.path.startswith("/told"):
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.send_header("X-Shown", f"{self.path} {self.headers['Authorization']}")
            self.end_headers()
            return
        body = b"<html>hello</html>"
        self.send_response(404 if self.path.startswith("/lost") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NotACollector)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Return the status and the one line on standard error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return ended.value.code, error.removeprefix("wattshed: ").strip()


@pytest.mark.parametrize("url", ["garbage", "127.0.0.1:9740", "ftp://x", "file:///etc/passwd"])
def test_what_is_no_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    status, error = said(capsys, "report", "--url", url)
    assert (status, error) == (2, f"{url!r} is no URL such as http://127.0.0.1:9740")


def test_where_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    status, error = said(capsys, "energy", "--url", "http://127.0.0.1:1")
    assert status == 1
    assert error.startswith("no collector answers at http://127.0.0.1:1 (")


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://"])
def test_an_address_that_cannot_be(capsys: pytest.CaptureFixture[str], url: str) -> None:
    status, error = said(capsys, "energy", "--url", url)
    assert status == 1
    assert "no collector" in error


@pytest.mark.parametrize(
    ("path", "reason"),
    [("", "does not answer in JSON"), ("/lost", "answers 404 Not Found")],
)
def test_where_something_else_answers(
    capsys: pytest.CaptureFixture[str], stranger: str, path: str, reason: str
) -> None:
    status, error = said(capsys, "report", "--url", stranger + path)
    assert status == 1
    assert error.startswith(f"{stranger}{path} is no collector: it ")
    assert reason in error


def test_a_token_does_not_go_where_a_redirect_leads(stranger: str) -> None:
    with pytest.raises(StoreError, match="refuses") as caught:
        Remote(stranger, Key("s3cret")).get("/moved")
    answer = caught.value.__cause__
    assert isinstance(answer, HTTPError)
    assert answer.headers["X-Shown"] == "/toldBearer%20s3cret None"


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, error = said(capsys, "up", "--data", str(tmp_path / "file" / "data"))
    assert (status, error.split(": ")[-1]) == (1, "Not a directory")


@pytest.mark.parametrize("command", [("completion", "zsh"), ("alerts", "list")])
def test_a_reader_that_leaves_is_no_error(command: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wattshed_collector.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 0


def test_the_rate_is_a_mean_over_portions() -> None:
    seen = deque([(0.0, 0)])
    assert _rate(seen) == 0
    for second in range(1, 31):
        seen.append((float(second), second // 5 * 5 * 3))
        _rate(seen)
    assert _rate(seen) == 3
    assert seen[0][0] == 20


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("energy", "--sinse", "1h"), "energy: error: unknown --sinse, 1h; did you mean --since?"),
        (("energy", "--nothing"), "wattshed energy: error: unknown --nothing"),
        (("slo", "list", "chat"), "wattshed slo list: error: unknown chat"),
        (("reprot",), "did you mean report?"),
        (("energy", "--by", "tean"), "did you mean team?"),
    ],
)
def test_a_word_that_there_is_not(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("usage: wattshed ")
    assert said.endswith(sentence + "\n")


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("niquests", "grafana"),
        ("grafana_client.client", "grafana"),
        ("bcrypt", "web"),
        ("rich.text", "collector"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(name: str, extra: str) -> None:
    said = missing(ModuleNotFoundError("no", name=name))
    assert said == f"{name} is missing; pip install 'wattshed[{extra}]'"


def test_every_extra_that_is_named_is_one(request: pytest.FixtureRequest) -> None:
    project = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())
    assert set(EXTRAS.values()) < set(project["project"]["optional-dependencies"])


def test_a_port_that_is_taken_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use") as caught:
            socket.create_server(taken.getsockname())
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
    assert why(caught.value, listen) == (
        f"--listen: another program listens on {listen}; stop it, or name another port"
    )
    assert why(OSError("full"), listen) == "full"


def commands(of: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, str]]:
    """Give each command that does something, with what its help ends with."""
    parts = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not parts:
        yield name, of.epilog or ""
    for part in parts:
        for word, command in part.choices.items():
            yield from commands(command, f"{name} {word}")


def test_the_help_of_every_command_has_an_example() -> None:
    found = dict(commands(parser(), "wattshed"))
    assert "wattshed advice done" in found
    assert [name for name, epilog in found.items() if "wattshed " not in epilog] == []


def test_each_command_is_there_when_it_alone_is_meant() -> None:
    """Also in the same words of help, and its module adds nothing that the table does not say."""
    whole = choices(parser())
    assert [*whole] == [*(name for names in COMMANDS.values() for name in names), "completion"]
    for names in COMMANDS.values():
        for name in names:
            alone = choices(parser([name, "--help"]))
            assert [*alone] == [*names, "completion"]
            assert alone[name].format_help() == whole[name].format_help()
    assert choices(parser(["nonsense"])).keys() == whole.keys()


def choices(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def test_a_command_reads_no_more_than_it_needs() -> None:
    told = "import sys; from wattshed_collector.cli import parser; parser(['token', 'new']); "
    told += "print({'numpy', 'aiohttp', 'asyncio', 'yaml'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_what_is_there_and_cannot_be_loaded_is_not_called_missing() -> None:
    said = missing(ImportError("libz.so.1: cannot open shared object file"))
    assert said == "a package cannot be loaded: libz.so.1: cannot open shared object file"


@pytest.mark.parametrize("flag", ["--listen", "--exporter-listen"])
def test_a_port_that_is_taken_is_said_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        free = {"--listen": "127.0.0.1:0", "--exporter-listen": "127.0.0.1:0"} | {flag: listen}
        words = [word for pair in free.items() for word in pair]
        with pytest.raises(SystemExit) as ended:
            main(["up", "--data", str(tmp_path / "data"), *words])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"wattshed: {flag}: another program listens on {listen}; stop it, or name another port\n"
    )
    assert list((tmp_path / "data" / "logs").iterdir()) == []


@pytest.mark.parametrize(
    "listen", ["", ":0", "localhost:99999", "[::1]:0", "gpu1:x", "nobody.invalid:1"]
)
def test_what_else_is_wrong_with_an_address_others_say(listen: str) -> None:
    check_free("--listen", listen)


def test_where_backups_may_be_is_what_somebody_said() -> None:
    assert _backups(Path("/d"), {}) == ["--durability.backup-folder", "/d/backups"]
    assert _backups(Path("/d"), {BACKUPS[0]: "/mnt"}) == []
    assert _backups(Path("/d"), {BACKUPS[1]: "/etc/collector.yaml"}) == []


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("most_avoided_joules", 2.122e8, "212 MJ"),
        ("joules_per_outcome_loaded", 0.0123, "12.3 mJ"),
        ("cached_tokens", 41_234_567.0, "41.2 M"),
        ("drift_ratio", 0.5, "50 %"),
        ("score", 44.91234, "44.91"),
        ("days_since_calibration", 3.0, "3"),
        ("is_clear", True, "True"),
        ("method", "ratio", "ratio"),
        ("saved_joules_per_outcome", None, "-"),
    ],
)
def test_scores_are_shown_in_units(column: str, value: object, text: str) -> None:
    assert _cell(column, value) == text


@pytest.mark.parametrize(
    ("years", "since", "text"),
    [
        (None, "first_seen", "-"),
        (-0.1, "commissioned", "-"),
        (0.0, "first_seen", "0 s seen"),
        (3 / 365.25, "first_seen", "3 d seen"),
        (0.5, "commissioned", "182 d 15 h"),
        (2.34, "commissioned", "2.3 y"),
    ],
)
def test_an_age_is_never_less_than_it_could_be_told(
    years: float | None, since: str, text: str
) -> None:
    assert _age(years, since) == text


def test_little_carbon_is_shown_with_a_prefix() -> None:
    assert [_each(grams) for grams in (8.262e-05, 310.0, None)] == ["82.6 µg", "310 g", "not known"]
