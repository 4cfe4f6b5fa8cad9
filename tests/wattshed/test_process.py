"""The client in processes of its own: forks, threads, failures, and the end of the interpreter."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest
from tests.fixtures.outcomes import Taken

FORKS = r"""
import multiprocessing, os, random, sys, threading, time, wattshed
wattshed.configure(workload="w", interval_seconds=0.003)
seed, depth = int(sys.argv[1]), 3

def work(chance):
    for _ in range(chance.randrange(1, 4)):
        for _ in range(chance.randrange(500)):
            wattshed.outcome("step")
            handle.add()
        if chance.random() < 0.5:
            time.sleep(0.004)

def live(seed, depth):
    chance = random.Random(seed)
    chances = [random.Random(f"{seed}/{n}") for n in range(3)]
    threads = [threading.Thread(target=work, args=(own,)) for own in chances]
    for thread in threads:
        thread.start()
    children = []
    for n in range(2 if depth else 0):
        work(chance)
        if chance.random() < 0.5:
            child = forking.Process(target=live, args=(f"{seed}-{n}", depth - 1))
            child.start()
            children.append(lambda child=child: child.join() or child.exitcode)
        elif (pid := os.fork()) == 0:
            live(f"{seed}-{n}", depth - 1)
            assert wattshed.flush(20)
            os._exit(0)
        else:
            children.append(lambda pid=pid: os.waitpid(pid, 0)[1])
    for thread in threads:
        thread.join()
    for wait in children:
        assert wait() == 0
    os.write(1, f"lived {seed}\n".encode())  # at once: print may write the line's end apart
    assert wattshed.flush(20)

forking = multiprocessing.get_context("fork")
handle = wattshed.counter("sample")
live(sys.argv[1], depth)
"""


def counted(seed: str) -> int:
    """What one process of the script counts of a kind, by the same chances."""

    def work(chance: random.Random) -> int:
        total = 0
        for _ in range(chance.randrange(1, 4)):
            total += chance.randrange(500)
            chance.random()
        return total

    depth = 3 - seed.count("-")
    chance = random.Random(seed)
    total = sum(work(random.Random(f"{seed}/{n}")) for n in range(3))
    for _ in range(2 if depth else 0):
        total += work(chance)
        chance.random()
    return total


class Fickle(ThreadingMixIn, UnixStreamServer):
    """Takes outcomes, and answers as chance has it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, file: Path, failing: float) -> None:
        self.taken, self.lock = Taken(), threading.Lock()
        self.chance, self.failing = random.Random(str(file.name)), failing
        super().__init__(str(file), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()


class Handler(BaseHTTPRequestHandler):
    server: Fickle

    def address_string(self) -> str:
        return ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            fate = self.server.chance.random() / max(self.server.failing, 1e-9)
            if fate > 0.25:  # else it is lost on its way
                self.server.taken.take(body)
        if fate < 0.5:
            return  # nothing is answered
        if fate < 0.75:
            self.wfile.write(b"garbage")
            return
        self.send_response(503 if fate < 1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *told: object) -> None:
        pass


def run(code: str, *told: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WATTSHED_", "SLURM_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *told], env={**clean, **environment}, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("seed", ["1", "2"])
def test_forks_threads_and_failures_together_lose_and_double_nothing(
    tmp_path: Path, seed: str
) -> None:
    with Fickle(tmp_path / seed, failing=0.6) as server:
        done = run(FORKS, seed, WATTSHED_OUTCOMES_URL=f"unix:{tmp_path}/{seed}")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    lived = [line.removeprefix("lived ") for line in done.stdout.splitlines()]
    assert len(lived) == 15
    total = float(sum(map(counted, lived)))
    assert server.taken.totals() == {("w", "step"): total, ("w", "sample"): total}
    assert len({source for _, _, source, _ in server.taken.rows}) == 15


LOOP = """
import sys, wattshed
with wattshed.workload("llama-ft", team="nlp", batch_class="512"), wattshed.job():
    for _ in range(3):
        with wattshed.epoch():
            wattshed.outcome("step", 40)
    exec(sys.argv[1])
"""


def test_the_last_totals_are_sent_at_the_end(tmp_path: Path) -> None:
    with Fickle(tmp_path / "s", failing=0.0) as server:
        slurm = {"SLURM_JOB_ID": "4711", "WATTSHED_CLUSTER": "c1"}
        done = run(LOOP, "raise OSError", WATTSHED_OUTCOMES_URL=f"unix:{tmp_path}/s", **slurm)
        server.shutdown()
    assert done.returncode == 1
    assert "OSError" in done.stderr
    job = "slurm/c1/4711"
    assert server.taken.totals() == {
        (job, "step"): 120.0, (job, "epoch"): 3.0, (job, "job_failed"): 1.0,
    }  # fmt: skip
    said = server.taken.workloads[job]
    assert (said.name, said.team, said.batch_class) == ("llama-ft", "nlp", "512")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WATTSHED_OUTCOMES_URL": "http://127.0.0.1:9"}, "refused"),
        ({"WATTSHED_OUTCOMES_URL": "nonsense"}, "is not a URL"),
        ({"WATTSHED_OUTCOMES_URL": "http://127.0.0.1:9", "WATTSHED_WORKLOAD": "{"}, "not sent"),
        ({}, ""),
    ],
)
def test_no_program_fails_for_want_of_who_listens(environment: dict[str, str], said: str) -> None:
    done = run(LOOP, "", **environment)
    assert done.returncode == 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_needs_nothing_but_the_standard_library() -> None:
    code = "import sys, wattshed; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = run(code)
    loaded = set(done.stdout.strip("[]\\n").replace("'", "").replace(" ", "").split(","))
    ours = {name for name in loaded if name not in sys.stdlib_module_names}
    assert "wattshed" in ours
    assert "wattshed_exporter" not in loaded
    assert not {"http", "ssl", "asyncio", "email"} & loaded
