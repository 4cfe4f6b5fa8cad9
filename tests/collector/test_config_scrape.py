"""Jobs in the file: the documentation's examples, and what is wrong, said at the start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from wattshed_collector.config import PREFIX, Action, Config, Job, Role, Scrape
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load

PAGE = Path(__file__).parents[2] / "docs" / "SCRAPING.md"
EXAMPLES = re.findall(r"^```yaml\n(scrape:.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def told(folder: Path, text: str) -> Config:
    file = folder / "c.yaml"
    file.write_text(text)
    return load(Config, ["--config", str(file)], {}, prog="wattshed-collector", prefix=PREFIX)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_documentations_examples_are_read(text: str, tmp_path: Path) -> None:
    jobs = told(tmp_path, text).scrape.jobs
    assert [job.name for job in jobs] == [
        job["name"] for job in yaml.safe_load(text)["scrape"]["jobs"]
    ]


def test_the_examples_say_what_they_mean(tmp_path: Path) -> None:
    assert len(EXAMPLES) == 4
    jobs = {job.name: job for text in EXAMPLES for job in told(tmp_path, text).scrape.every_job()}
    gpu = jobs["gpu"]
    assert gpu.static[0].labels == {"team": "vision"}
    assert (gpu.interval_seconds, gpu.timeout_seconds, gpu.cluster) == (10.0, 5.0, "c1")
    inventory = jobs["inventory"]
    assert inventory.http_sd[0].auth.token_file == "/etc/wattshed/inventory-token"
    assert inventory.auth.username == "wattshed"
    assert jobs["dcgm"].kubernetes_sd[0].role is Role.ENDPOINTSLICE
    rules = jobs["sharded"].relabel_configs
    assert [rule.action for rule in rules] == [Action.HASHMOD, Action.KEEP, Action.REPLACE]


def problem(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        told(folder, text)
    (said,) = caught.value.problems
    return said


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("{}", "name: job '': is missing"),
        ("{name: targets}", "which scrape.targets has"),
        ("{name: j, scheme: ftp}", "scheme: job 'j': 'ftp' is not http or https"),
        ("{name: j, path: metrics}", "does not begin with /"),
        ("{name: j, interval_seconds: 1, timeout_seconds: 2}", "above interval_seconds"),
        ("{name: j, sample_limit: -1}", "sample_limit: job 'j': is below 0"),
        ("{name: j, statics: []}", "unknown key statics; did you mean static?"),
        ("{name: j, static: [{labels: {a-b: c}}]}", "'a-b' is no name of a label"),
        ("{name: j, static: [{labels: {a: 1}}]}", "put them in quotes"),
        ("{name: j, params: [a]}", "is not a mapping of names to texts"),
        ("{name: j, file_sd: [{files: [a.txt]}]}", "does not end with"),
        ("{name: j, file_sd: [{}]}", "files: none is named"),
        ("{name: j, http_sd: [{url: 'inventory'}]}", "is not an http or https URL"),
        ("{name: j, http_sd: [{url: 'http://[::bad'}]}", "is not an http or https URL"),
        ("{name: j, http_sd: [{url: 'http://me:hush@h/'}]}", "belongs into auth"),
        ("{name: j, kubernetes_sd: [{role: node}]}", "is none of pod, endpointslice"),
        ("{name: j, kubernetes_sd: [{role: endpointslice, annotations: true}]}", "only pods"),
        ("{name: j, relabel_configs: [{regex: '(', target_label: a}]}", "no regular expression"),
        ("{name: j, metric_relabel_configs: [{action: hashmod, target_label: a}]}", "modulus"),
        ("{name: j, auth: {token: t, username: u}}", "choose one of"),
        ("{name: j, auth: {password_file: f}}", "username is missing"),
        ("{name: j, tls: {cert_file: f}}", "go together"),
    ],
)
def test_what_is_wrong_with_a_job_is_said(job: str, said: str, tmp_path: Path) -> None:
    assert said in problem(tmp_path, f"scrape: {{jobs: [{job}]}}")


def test_a_secret_in_a_wrong_job_is_not_repeated(tmp_path: Path) -> None:
    text = "scrape: {jobs: [{name: j, auth: {token: hush}, scheme: ftp}]}"
    assert "hush" not in problem(tmp_path, text)


def test_two_jobs_have_two_names(tmp_path: Path) -> None:
    assert "two are called 'j'" in problem(tmp_path, "scrape: {jobs: [{name: j}, {name: j}]}")


def test_a_job_takes_what_it_does_not_say_from_the_section() -> None:
    job = Job(name="j", interval_seconds=2.0)
    section = Scrape(jobs=(job,), interval_seconds=10.0, timeout_seconds=5.0, cluster="c")
    alone, mine = section.every_job()
    assert (alone.interval_seconds, alone.timeout_seconds) == (10.0, 5.0)
    assert (mine.interval_seconds, mine.timeout_seconds, mine.cluster) == (2.0, 2.0, "c")


@pytest.mark.parametrize(
    "url", ["node1:9741", "http://", "http://[::bad", "http://h:x/", "ftp://h/"]
)
def test_a_target_that_is_no_url_is_a_problem(url: str) -> None:
    assert Scrape(targets=(url,)).problems() == [f"targets: {url!r} is not an http or https URL"]
