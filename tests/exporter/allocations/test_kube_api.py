"""The Kubernetes API over real HTTP and TLS, and how it refuses."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.kube import CUT, PODS, Kube, pod, serving

from wattshed_exporter.allocations.kube_address import address
from wattshed_exporter.allocations.kube_api import KubeApi
from wattshed_exporter.errors import SourceError

WATCH = {"fieldSelector": "spec.nodeName=n1", "resourceVersion": "100"}
NOWHERE = Path("/nonexistent")


@pytest.fixture
def kube() -> Iterator[Kube]:
    with serving(Kube()) as server:
        yield server


@pytest.fixture
def account(tmp_path: Path, certificates: Path) -> Path:
    """The folder of a service account."""
    (tmp_path / "token").write_text("secret\n")
    shutil.copy(certificates / "ca.pem", tmp_path / "ca.crt")
    return tmp_path


def refused(api: KubeApi) -> SourceError:
    with pytest.raises(SourceError) as raised:
        api.get(PODS, {})
    return raised.value


def rest(events: Iterator[object]) -> object:
    """Return the events that are left, or why there are none."""
    try:
        return list(events)
    except SourceError as error:
        return error.reason


class TestAddress:
    def test_what_is_set_comes_first(self, account: Path) -> None:
        environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        assert address("http://127.0.0.1:8001/", account, environ) == "http://127.0.0.1:8001"

    @pytest.mark.parametrize(
        ("environ", "url"),
        [
            ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "https://10.0.0.1:443"),
            ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
             "https://[fd00::1]:6443"),
            ({}, ""),
        ],
    )  # fmt: skip
    def test_a_pod_finds_its_cluster(
        self, account: Path, environ: dict[str, str], url: str
    ) -> None:
        assert address("", account, environ) == url

    def test_without_a_token_nobody_is_asked(self) -> None:
        assert address("", NOWHERE, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == ""

    @pytest.mark.parametrize("url", ["", "ftp://x", "https://", "http://[", "http://x:port"])
    def test_what_is_no_url_is_a_problem_of_the_configuration(self, url: str) -> None:
        with pytest.raises(SourceError) as raised:
            KubeApi(url, NOWHERE)
        assert raised.value.reason == "config"


class TestGet:
    def test_an_object(self, kube: Kube) -> None:
        kube.put(pod("u1", "a"))
        kube.put(pod("u2", "b", node="n2"))
        found = KubeApi(kube.url, NOWHERE).get(PODS, {"fieldSelector": "spec.nodeName=n1"})
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]

    @pytest.mark.parametrize(
        ("status", "reason", "told"),
        [
            (401, "unauthorized", "does not accept the token"),
            (403, "forbidden", "its role needs the verbs get, list and watch on pods"),
            (404, "vanished", "does not exist"),
            (410, "gone", "gone"),
            (500, "http_error", "HTTP status 500"),
            (302, "http_error", "HTTP status 302"),
        ],
    )
    def test_a_refusal(self, kube: Kube, status: int, reason: str, told: str) -> None:
        kube.refuse = status
        error = refused(KubeApi(kube.url, NOWHERE))
        assert error.reason == reason
        assert told in str(error)

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"1" * 5000])
    def test_what_is_no_object_is_malformed(self, kube: Kube, body: bytes) -> None:
        kube.resources[PODS] = body
        assert refused(KubeApi(kube.url, NOWHERE)).reason == "malformed"

    def test_nobody_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            assert refused(KubeApi(url, NOWHERE)).reason == "unreachable"

    def test_no_answer_in_time(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            assert refused(KubeApi(url, NOWHERE, timeout_seconds=0.1)).reason == "timeout"

    def test_no_http(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-x\r\n\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            assert refused(KubeApi(url, NOWHERE)).reason == "malformed"
            thread.join()


class TestTls:
    @pytest.fixture
    def secure(self, certificates: Path) -> Iterator[Kube]:
        with serving(Kube(certificates)) as server:
            server.token = "secret"
            yield server

    def test_the_token_is_read_anew_for_every_request(self, secure: Kube, account: Path) -> None:
        api = KubeApi(secure.url, account)
        api.get(PODS, {"fieldSelector": "spec.nodeName=n1"})
        secure.token = "renewed"
        assert refused(api).reason == "unauthorized"
        (account / "token").write_text("renewed")
        api.get(PODS, {"fieldSelector": "spec.nodeName=n1"})
        assert secure.tokens == ["Bearer secret", "Bearer secret", "Bearer renewed"]

    def test_a_certificate_of_another_authority_is_not_trusted(
        self, secure: Kube, tmp_path: Path
    ) -> None:
        error = refused(KubeApi(secure.url, tmp_path))
        assert (error.reason, "ca.crt" in str(error)) == ("tls", True)

    def test_an_authority_that_is_none_is_a_problem_of_the_configuration(
        self, secure: Kube, account: Path
    ) -> None:
        (account / "ca.crt").write_text("nothing")
        assert refused(KubeApi(secure.url, account)).reason == "config"

    def test_a_token_that_is_none_is_not_repeated(self, secure: Kube, account: Path) -> None:
        (account / "token").write_text("s3c\nr3t")
        error = refused(KubeApi(secure.url, account))
        assert (error.reason, "r3t" in str(error)) == ("config", False)
        assert secure.tokens == []

    def test_no_token_goes_out_without_tls(self, kube: Kube, account: Path) -> None:
        KubeApi(kube.url, account).get(PODS, {"fieldSelector": "spec.nodeName=n1"})
        assert kube.tokens == [""]

    def test_a_watch_is_ended_from_another_thread(self, secure: Kube, account: Path) -> None:
        api = KubeApi(secure.url, account)
        secure.put(pod("u1", "a"))
        events = api.watch(PODS, WATCH, 30.0)
        assert next(events)["type"] == "ADDED"
        ender = threading.Timer(0.05, api.close)
        ender.start()
        assert rest(events) != "timeout"
        ender.join()


class TestWatch:
    def test_events_come_until_the_server_ends_it(self, kube: Kube) -> None:
        events = KubeApi(kube.url, NOWHERE).watch(PODS, WATCH, 5.0)
        kube.put(pod("u1", "a"))
        assert next(events)["type"] == "ADDED"
        version = kube.bookmark()
        assert next(events)["object"]["metadata"]["resourceVersion"] == str(version)
        kube.remove("u1")
        assert next(events)["type"] == "DELETED"
        kube.end_watches()
        assert list(events) == []

    def test_a_refusal_comes_at_once(self, kube: Kube) -> None:
        kube.refuse = 403
        with pytest.raises(SourceError, match="may not watch pods"):
            KubeApi(kube.url, NOWHERE).watch(PODS, WATCH, 5.0)

    @pytest.mark.parametrize(
        ("said", "reason"), [(b"{\n", "malformed"), (b'{"type": "ADD', "malformed"), (CUT, "")]
    )
    def test_a_stream_that_breaks(self, kube: Kube, said: bytes, reason: str) -> None:
        events = KubeApi(kube.url, NOWHERE).watch(PODS, WATCH, 5.0)
        kube.put(pod("u1", "a"))
        assert next(events)["type"] == "ADDED"
        kube.say(said)
        kube.say(CUT)
        if reason:
            with pytest.raises(SourceError) as raised:
                next(events)
            assert raised.value.reason == reason
        else:
            assert rest(events) in ([], "malformed", "unreachable")

    def test_silence_beyond_its_time_is_a_timeout(self, kube: Kube) -> None:
        events = KubeApi(kube.url, NOWHERE).watch(PODS, WATCH, 0.1)
        with pytest.raises(SourceError) as raised:
            next(events)
        assert raised.value.reason == "timeout"
