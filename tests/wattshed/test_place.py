"""Where outcomes go and whose they are, by the environment."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wattshed import place
from wattshed.place import Endpoint, described, endpoint, told_endpoint, told_workload
from wattshed_exporter.allocations.combine import workload
from wattshed_exporter.semconv import WORKLOAD_ATTRIBUTES


def test_what_a_workload_has_is_what_the_contract_says() -> None:
    assert {attribute.name for attribute in WORKLOAD_ATTRIBUTES} == place.NAMES


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://c:9740", Endpoint("http", "c", 9740)),
        ("http://c:9740/", Endpoint("http", "c", 9740)),
        ("https://c.example/in/outcomes", Endpoint("https", "c.example", 443, "/in/outcomes")),
        ("http://[::1]", Endpoint("http", "::1", 80)),
        ("unix:/run/x.sock", Endpoint("http", "localhost", 0, socket_file="/run/x.sock")),
        ("unix:///run/x.sock", Endpoint("http", "localhost", 0, socket_file="/run/x.sock")),
    ],
)
def test_urls(url: str, found: Endpoint) -> None:
    assert endpoint(url) == found


@pytest.mark.parametrize(
    "url", ["c:9740", "ftp://c", "http://", "unix:x", "http://u:p@c", "http://c/?q", "http://c/ x",
            "http://c:99999"],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        endpoint(url)


def test_the_exporter_of_this_machine_is_found(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.sock"
    assert told_endpoint({}, file) is None
    file.touch()
    assert told_endpoint({}, file) is None
    file.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(file))
        found = told_endpoint({}, file)
    assert found is not None
    assert found.socket_file == str(file)
    assert told_endpoint({"WATTSHED_OUTCOMES_URL": "http://c"}, file) == endpoint("http://c")


@pytest.mark.parametrize("cluster", ["", "c1"])
def test_keys_are_those_of_the_exporter(cluster: str) -> None:
    told = {"WATTSHED_CLUSTER": cluster}
    job = workload("slurm:4711", {}, "node-7", cluster)
    assert told_workload({**told, "SLURM_JOB_ID": "4711"}, "node-7") == {"key": job.key}
    pod = workload("pod:0a-1b", {}, "node-7", cluster)
    assert told_workload({**told, "POD_UID": "0a-1b"}, "node-7") == {"key": pod.key}


def test_what_is_said_by_hand_counts() -> None:
    job = {"SLURM_JOB_ID": "7", "WATTSHED_CLUSTER": "c"}
    assert told_workload({}, "n") == {}
    assert told_workload({**job, "WATTSHED_WORKLOAD": "mine"}, "n") == {"key": "mine"}
    more = '{"team": "nlp", "batch_class": "512"}'
    assert told_workload({**job, "WATTSHED_WORKLOAD": more}, "n") == {
        "key": "slurm/c/7", "team": "nlp", "batch_class": "512",
    }  # fmt: skip
    for bad in ("{", '{"team": 7}', '{"color": "red"}'):
        with pytest.raises(ValueError, match=r"."):
            told_workload({"WATTSHED_WORKLOAD": bad}, "n")


def test_a_name_describes_the_workload_that_the_environment_knows() -> None:
    found = {"key": "slurm/c/7", "team": "nlp"}
    assert described(found, "llama", {"precision": "fp8"}) == {
        "key": "slurm/c/7", "team": "nlp", "name": "llama", "precision": "fp8",
    }  # fmt: skip
    assert described({}, "llama", {}) == {"key": "llama", "name": "llama"}
    assert described(found, "llama", {"key": "own"}) == {"key": "own", "name": "llama"}
    with pytest.raises(TypeError, match="color"):
        described(found, "llama", {"color": "red"})


def test_ranks() -> None:
    assert place.rank({}) == ""
    assert place.rank({"LOCAL_RANK": "3"}) == "3"
    assert place.rank({"RANK": "11", "LOCAL_RANK": "3"}) == "11"
    assert place.rank({"RANK": "x"}) == ""
