"""Pods by a real watch over HTTP, with everything that can break it; and by the folders of logs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures.kube import CUT, PODS, Kube, pod, serving

from wattshed_exporter.allocations import Meters, Told, create
from wattshed_exporter.allocations.options import Allocations, Kubernetes
from wattshed_exporter.allocations.pod_logs import PodLogs
from wattshed_exporter.allocations.pod_watch import ENDED_ROUNDS
from wattshed_exporter.allocations.pods import Pods
from wattshed_exporter.config import Config
from wattshed_exporter.errors import NoData, SourceError

NOW = Meters(0)
UID = "0a1b2c3d-0000-1111-2222-33334444555{}"
A, B, C = (UID.format(n) for n in range(3))


@pytest.fixture
def kube() -> Iterator[Kube]:
    with serving(Kube()) as server:
        yield server


Make = Callable[..., Pods]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Build plug-ins that are closed at the end, before the server is."""
    made: list[Pods] = []

    def build(url: str = "", environ: dict[str, str] | None = None, **options: object) -> Pods:
        kubernetes = Kubernetes(
            api=url,
            pod_logs=tmp_path / "pods",
            **{"credentials": tmp_path / "none", **options},  # type: ignore[arg-type]
        )
        config = Config(node="n1", allocations=Allocations(kubernetes=kubernetes))
        made.append(Pods(config, environ or {}, pause_seconds=0.02))
        return made[-1]

    yield build
    for each in made:
        each.close()


def until(plugin: Pods, done: Callable[[Told], object]) -> Told:
    """Read rounds until one is as it should be."""
    end = time.monotonic() + 120
    while not done(told := plugin.read(NOW)):
        assert time.monotonic() < end, told
        time.sleep(0.01)
    return told


def names(told: Told) -> dict[str, str]:
    """Return what namespace and name stand for, without what is the same in all."""
    return {
        ref.removeprefix("pod:ml/"): uid.removeprefix("pod:")
        for ref, uid in told.same.items()
        if "/" in ref
    }


class TestWatch:
    def test_the_first_round_knows_the_pods_of_this_node(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "train-0", labels={"team": "nlp"}))
        kube.put(pod(B, "elsewhere", node="n2"))
        told = make(kube.url).read(NOW)
        assert told.about == {
            f"pod:{A}": {"name": "train-0", "instance": "train-0", "namespace": "ml",
                         "kind": "pod", "owner": "trainer", "team": "nlp"}
        }  # fmt: skip
        assert told.same == {"pod:ml/train-0": f"pod:{A}", "container:" + "0" * 64: f"pod:{A}"}
        assert told.rejected == {}
        selector = {"fieldSelector": "spec.nodeName=n1", "resourceVersion": "0"}
        assert kube.asked[0] == (PODS, selector)

    def test_pods_come_and_change_and_go(self, kube: Kube, make: Make) -> None:
        plugin = make(kube.url)
        assert plugin.read(NOW).about == {}
        kube.put(pod(A, "a"))
        until(plugin, lambda told: names(told) == {"a": A})
        kube.put(pod(A, "a", labels={"team": "nlp"}))
        until(plugin, lambda told: told.about[f"pod:{A}"].get("team") == "nlp")
        kube.remove(A)
        kube.put(pod(B, "b"))
        until(plugin, lambda told: "b" in names(told))
        # The one that has ended is told of for some rounds more, and then no longer.
        rounds = [plugin.read(NOW) for _ in range(ENDED_ROUNDS + 1)]
        assert names(rounds[0]) == {"a": A, "b": B}
        assert names(rounds[-1]) == {"b": B}

    def test_a_pod_that_starts_anew_under_its_name_is_another(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "db-0"))
        plugin = make(kube.url)
        assert names(plugin.read(NOW)) == {"db-0": A}
        kube.remove(A)
        kube.put(pod(B, "db-0"))
        told = until(plugin, lambda told: names(told) == {"db-0": B})
        assert told.same["container:" + "0" * 64] == f"pod:{A}"
        assert set(told.about) == {f"pod:{A}", f"pod:{B}"}

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_a_pod_that_has_ended_but_was_not_deleted_has_nothing(
        self, kube: Kube, make: Make, phase: str
    ) -> None:
        kube.put(pod(A, "a"))
        kube.put(pod(B, "b"))
        plugin = make(kube.url)
        assert plugin.read(NOW).ended == frozenset()
        over = pod(A, "a")
        over["status"]["phase"] = phase
        kube.put(over)
        told = until(plugin, lambda told: told.ended)
        assert (told.ended, names(told)) == ({f"pod:{A}"}, {"a": A, "b": B})
        kube.remove(A)
        until(plugin, lambda told: f"pod:{A}" not in told.about)

    def test_a_watch_goes_on_from_its_last_version(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "a"))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        version = kube.bookmark()
        kube.put(pod(B, "b"))
        until(plugin, lambda told: "b" in names(told))
        kube.end_watches()
        kube.put(pod(C, "c"))
        until(plugin, lambda told: "c" in names(told))
        watches = [query for _, query in kube.asked if "watch" in query]
        assert int(watches[-1]["resourceVersion"]) > version
        assert len([query for _, query in kube.asked if "watch" not in query]) == 1
        assert watches[0]["allowWatchBookmarks"] == "true"

    def test_a_bookmark_spares_what_was_seen(self, kube: Kube, make: Make) -> None:
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        version = kube.bookmark()
        kube.end_watches()
        wait(lambda: kube.watches == 2)
        assert kube.asked[-1][1]["resourceVersion"] == str(version)

    def test_a_node_without_pods_may_have_another_name(
        self, kube: Kube, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        kube.put(pod(A, "a", node="n1.example"))
        assert make(kube.url).read(NOW).about == {}
        assert "none is on a node n1; node has to be its name in Kubernetes" in caplog.text


class TestTrouble:
    def test_a_version_that_is_gone_begins_with_a_list(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "a"))
        kube.put(pod(B, "b"))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        kube.end_watches()
        kube.remove(A)
        kube.put(pod(C, "c"))
        kube.forget()
        told = until(plugin, lambda told: "c" in names(told))
        assert (f"pod:{A}" in told.about, told.rejected) == (True, {})
        until(plugin, lambda told: names(told) == {"b": B, "c": C})

    @pytest.mark.parametrize(
        "said",
        [
            b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "old"}}\n',
            b'{"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "no"}}\n',
            b'{"type": "ERROR"}\n',
            b'{"type": "ADDED", "object": 7}\n',
            b'{"type": "ADDED", "obj',
            b"nonsense\n",
            b"[]\n",
            CUT,
        ],
    )
    def test_a_stream_that_breaks_is_taken_up_again(
        self, kube: Kube, make: Make, said: bytes
    ) -> None:
        kube.put(pod(A, "a"))
        plugin = make(kube.url)
        assert names(plugin.read(NOW)) == {"a": A}
        wait(lambda: kube.watches == 1)
        kube.say(said)
        kube.say(CUT)
        kube.put(pod(B, "b"))
        told = until(plugin, lambda told: "b" in names(told) and not told.rejected)
        assert names(told) == {"a": A, "b": B}

    def test_a_pod_without_identity_is_counted_and_costs_no_other(
        self, kube: Kube, make: Make
    ) -> None:
        kube.put(pod(A, "a"))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        kube.say(json.dumps({"type": "ADDED", "object": {"metadata": {}}}).encode() + b"\n")
        until(plugin, lambda told: told.rejected == {"malformed": 1})
        assert names(plugin.read(NOW)) == {"a": A}

    @pytest.mark.parametrize(
        ("status", "reason", "said"),
        [
            (401, "unauthorized", "does not accept the token"),
            (403, "forbidden", "its role needs the verbs get, list and watch on pods"),
            (503, "http_error", "HTTP status 503"),
        ],
    )
    def test_a_refusal_is_an_error_until_it_ends(
        self, kube: Kube, make: Make, status: int, reason: str, said: str
    ) -> None:
        kube.refuse = status
        plugin = make(kube.url)
        with pytest.raises(SourceError, match=said) as raised:
            plugin.read(NOW)
        assert raised.value.reason == reason
        kube.refuse = 0
        kube.put(pod(A, "a"))
        end = time.monotonic() + 120
        while True:
            try:
                told = plugin.read(NOW)
            except SourceError:
                assert time.monotonic() < end
                time.sleep(0.01)
                continue
            break
        assert names(told) == {"a": A}

    def test_while_it_is_away_what_is_known_stays_known(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "a"))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        kube.refuse = 503
        kube.end_watches()
        told = until(plugin, lambda told: told.rejected == {"http_error": 1})
        assert names(told) == {"a": A}
        kube.refuse = 0
        until(plugin, lambda told: told.rejected == {})

    def test_a_list_that_is_none(self, kube: Kube, make: Make) -> None:
        kube.resources[PODS] = {"kind": "PodList", "items": []}
        with pytest.raises(SourceError) as raised:
            make(kube.url).read(NOW)
        assert raised.value.reason == "malformed"

    def test_close_ends_the_thread_and_a_round_begins_anew(self, kube: Kube, make: Make) -> None:
        kube.put(pod(A, "a"))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        plugin.close()
        plugin.close()
        assert names(plugin.read(NOW)) == {"a": A}
        wait(lambda: kube.watches == 2)

    def test_an_address_that_is_none(self, make: Make) -> None:
        with pytest.raises(SourceError) as raised:
            make("ftp://x").read(NOW)
        assert raised.value.reason == "config"


def wait(done: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_over_tls_with_the_account_of_a_pod(make: Make, certificates: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    shutil.copy(certificates / "ca.pem", tmp_path / "ca.crt")
    with serving(Kube(certificates)) as kube:
        kube.token = "secret"
        kube.put(pod(A, "a"))
        environ = {
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(kube.server_address[1]),
        }
        plugin = make("", environ, credentials=tmp_path)
        assert names(plugin.read(NOW)) == {"a": A}
        kube.put(pod(B, "b"))
        until(plugin, lambda told: "b" in names(told))
        plugin.close()


class TestLogs:
    def test_without_an_api_folders_say_names_and_uids(self, make: Make, tmp_path: Path) -> None:
        static = "ab" * 16
        for name in (f"ml_train-0_{A}", f"kube-system_etcd-n1_{static}", "other", "a_b_c"):
            (tmp_path / "pods" / name).mkdir(parents=True)
        told = make().read(NOW)
        assert told.same == {"pod:ml/train-0": f"pod:{A}",
                             "pod:kube-system/etcd-n1": f"pod:{static}"}  # fmt: skip
        assert told.about[f"pod:{A}"] == {
            "name": "train-0", "instance": "train-0", "namespace": "ml", "kind": "pod"
        }  # fmt: skip

    def test_with_neither_there_is_no_data(self, make: Make) -> None:
        with pytest.raises(NoData):
            make().read(NOW)

    def test_of_two_with_one_name_the_one_that_came_later_has_it(self, tmp_path: Path) -> None:
        logs = PodLogs(tmp_path)
        (tmp_path / f"ml_db-0_{B}").mkdir()
        logs.read()
        (tmp_path / f"ml_db-0_{A}").mkdir()
        os.utime(tmp_path / f"ml_db-0_{A}", (1, 1))
        assert [found.uid for found in logs.read()] == [B, A]

    def test_at_the_start_it_is_the_one_that_was_written_last(self, tmp_path: Path) -> None:
        for uid, time_s in ((A, 2), (B, 1)):
            (tmp_path / f"ml_db-0_{uid}").mkdir()
            os.utime(tmp_path / f"ml_db-0_{uid}", (time_s, time_s))
        assert [found.uid for found in PodLogs(tmp_path).read()] == [B, A]

    def test_they_stand_in_while_the_api_refuses(
        self, kube: Kube, make: Make, tmp_path: Path
    ) -> None:
        (tmp_path / "pods" / f"ml_a_{A}").mkdir(parents=True)
        kube.refuse = 403
        plugin = make(kube.url)
        told = plugin.read(NOW)
        assert (names(told), told.rejected) == ({"a": A}, {"forbidden": 1})

    def test_they_add_to_what_the_api_told_before_it_went(
        self, kube: Kube, make: Make, tmp_path: Path
    ) -> None:
        kube.put(pod(A, "a", labels={"team": "nlp"}))
        plugin = make(kube.url)
        plugin.read(NOW)
        wait(lambda: kube.watches == 1)
        for name in (f"ml_a_{A}", f"ml_b_{B}"):
            (tmp_path / "pods" / name).mkdir(parents=True)
        kube.refuse = 503
        kube.end_watches()
        told = until(plugin, lambda told: told.rejected)
        assert names(told) == {"a": A, "b": B}
        assert told.about[f"pod:{A}"]["team"] == "nlp"

    def test_a_file_in_place_of_the_folder_is_no_data(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "pods").write_text("")
        with pytest.raises(NoData):
            make().read(NOW)


def test_it_is_built_by_name() -> None:
    plugin = create("pods", Config(node="n1"))
    assert plugin.name == "pods"
    plugin.close()
