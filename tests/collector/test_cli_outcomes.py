"""``wattshed outcomes``: what a page would give, seen before anything is configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.fixtures import served

from wattshed_collector.cli import main
from wattshed_collector.outcomes.engines import SERVERS


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(["outcomes", *arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out + err


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    status, said = run(capsys, "check", "--json", *arguments)
    assert status == 0
    found: list[dict[str, Any]] = json.loads(said)
    return found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.txt"
    file.write_text(served.vllm(cached=None) + served.ray_serve())
    return file


def test_rules(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run(capsys, "rules", "--json")
    told = {record["name"]: record for record in json.loads(said)}
    assert (status, list(told)) == (0, [server.name for server in SERVERS])
    assert told["triton"]["kinds"] == ["inference", "request"]
    assert told["vllm"]["rules"][0]["from"][1] == {
        "counter": "vllm:prompt_tokens_total",
        "minus": "vllm:prompt_tokens_cached_total",
    }
    status, said = run(capsys, "rules")
    assert status == 0
    assert "nv_inference_count" in said


def test_a_file(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    labels = ("--label", "namespace=ml", "--label", "pod=chat-0", "--label", "cluster=c1")
    found = records(capsys, str(page), *labels)
    token_in = next(record for record in found if record["outcome"] == "token_in")
    assert token_in["total"] == 1000
    assert token_in["workload"] == "k8s/c1/ml/chat-0"
    assert "cache" in token_in["caveat"]
    assert {record["server"] for record in found} == {"vllm"}
    assert {r["server"] for r in records(capsys, str(page), "--as", "ray_serve")} == {"ray_serve"}
    assert "no_workload" in run(capsys, "check", str(page))[1]


def test_a_page_of_which_nothing_counts(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    assert run(capsys, "check", str(page), "--as", "tgi") == (
        1,
        "nothing on this page is counted by these rules\n",
    )


def test_by_the_rules_of_a_job(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    config = page.with_name("c.yaml")
    config.write_text(
        "scrape: {jobs: [{name: j, outcomes: [none], workload: 'a/{engine}', outcome_rules: "
        "[{metric: 'vllm:generation_tokens_total', kind: word}]}]}"
    )
    told = ("--config", str(config), "--job", "j")
    (found,) = records(capsys, str(page), *told)
    assert (found["outcome"], found["workload"]) == ("word", "a/0")
    status, said = run(capsys, "check", str(page), "--config", str(config), "--job", "other")
    assert (status, said) == (2, "wattshed: there is no job 'other' in scrape.jobs\n")


class Quoted(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = served.llama_cpp(quoted=True).encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Quoted)
    thread = Thread(target=lambda: listening.serve_forever(poll_interval=0.01))
    thread.start()
    yield f"127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_server(capsys: pytest.CaptureFixture[str], server: str) -> None:
    found = records(capsys, f"http://{server}/metrics")
    assert {record["outcome"]: record["total"] for record in found} == {
        "token_in": 1234570,
        "token_out": 987,
    }
    assert {record["workload"] for record in found} == {f"prometheus/targets/{server}"}
    status, said = run(capsys, "check", f"http://{server}/lost")
    assert (status, said) == (1, f"wattshed: no page comes from http://{server}/lost: Not Found\n")


@pytest.mark.parametrize("page", ["http://gpu1:port/metrics", "http://[gpu1/metrics"])
def test_what_is_no_url(capsys: pytest.CaptureFixture[str], page: str) -> None:
    status, said = run(capsys, "check", page)
    assert (status, said.startswith(f"wattshed: {page!r} is no URL: ")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("ftp://x/y",), 2), (("/no/such/file",), 1), (("{page}", "--label", "x"), 2)],
)
def test_what_is_wrong_is_one_sentence(
    capsys: pytest.CaptureFixture[str], page: Path, arguments: tuple[str, ...], status: int
) -> None:
    told = [argument.format(page=page) for argument in arguments]
    code, said = run(capsys, "check", *told)
    assert (code, said.count("\n")) == (status, 1)


def test_a_page_that_is_none(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    page.write_text("{not a page")
    code, said = run(capsys, "check", str(page))
    assert code == 2
    assert "is no Prometheus page" in said


@pytest.mark.parametrize("number", ["NaN", "+Inf"])
def test_what_is_no_number_is_null(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, number: str
) -> None:
    file = tmp_path / "page.txt"
    file.write_text(f'vllm:generation_tokens_total{{model_name="m"}} {number}\n')
    status, said = run(capsys, "check", "--json", str(file))
    assert status == 0
    assert [r["total"] for r in json.loads(said, parse_constant=pytest.fail)] == [None]
    assert "no number" in run(capsys, "check", str(file))[1]
