"""One gRPC call over a unix socket, against a real gRPC server and against what is none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.kubelet import Kubelet, pod, running

from wattshed_exporter.allocations.podresources_v1 import LIST, parse
from wattshed_exporter.allocations.unary_call import call
from wattshed_exporter.errors import NoData, SourceError

MOST = 1 << 20


def ask(path: Path, method: str = LIST, seconds: float = 5.0, most: int = MOST) -> bytes:
    return call(path, method, b"", deadline_seconds=seconds, most_bytes=most)


def refused(path: Path, method: str = LIST, seconds: float = 5.0, most: int = MOST) -> SourceError:
    with pytest.raises(SourceError) as raised:
        ask(path, method, seconds, most)
    return raised.value


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    with running(tmp_path / "kubelet.sock") as server:
        yield server


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """Answer the first bytes with these, and wait for the other side to close."""

    def serve(link: socket.socket) -> None:
        link.recv(65536)
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while link.recv(65536):
                pass

    return serve


@contextmanager
def listening(path: Path, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Serve one connection by hand."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join()


class TestServer:
    def test_a_message_comes_back(self, kubelet: Kubelet, tmp_path: Path) -> None:
        kubelet.pods = [pod("p", "GPU-1")]
        assert [each.name for each in parse(ask(tmp_path / "kubelet.sock"))] == ["p"]

    def test_an_empty_message_comes_back(self, kubelet: Kubelet, tmp_path: Path) -> None:
        assert ask(tmp_path / "kubelet.sock") == b""

    def test_one_larger_than_the_window_comes_whole(self, kubelet: Kubelet, tmp_path: Path) -> None:
        kubelet.answer = lambda context: bytes(range(256)) * 4000
        assert ask(tmp_path / "kubelet.sock") == bytes(range(256)) * 4000

    def test_one_beyond_the_limit_is_refused(self, kubelet: Kubelet, tmp_path: Path) -> None:
        kubelet.answer = lambda context: bytes(1001)
        assert len(ask(tmp_path / "kubelet.sock", most=1001)) == 1001
        assert refused(tmp_path / "kubelet.sock", most=1000).reason == "too_large"

    def test_a_method_that_it_has_not(self, kubelet: Kubelet, tmp_path: Path) -> None:
        error = refused(tmp_path / "kubelet.sock", "/v1.PodResourcesLister/Get")
        assert error.reason == "unimplemented"

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (grpc.StatusCode.UNAVAILABLE, "unavailable"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "exhausted"),
            (grpc.StatusCode.PERMISSION_DENIED, "permission"),
            (grpc.StatusCode.INTERNAL, "grpc_error"),
        ],
    )
    def test_its_status_is_the_reason(
        self, kubelet: Kubelet, tmp_path: Path, code: grpc.StatusCode, reason: str
    ) -> None:
        kubelet.answer = lambda context: context.abort(code, "rejected by rate limit: 100 %")
        error = refused(tmp_path / "kubelet.sock")
        assert error.reason == reason
        assert "rejected by rate limit: 100 %" in str(error)

    def test_one_that_does_not_answer_in_time(self, kubelet: Kubelet, tmp_path: Path) -> None:
        over = threading.Event()
        kubelet.answer = lambda context: bytes(over.wait(5))
        error = refused(tmp_path / "kubelet.sock", seconds=0.1)
        over.set()
        assert error.reason == "timeout"

    def test_one_that_started_anew_is_found(self, kubelet: Kubelet, tmp_path: Path) -> None:
        ask(tmp_path / "kubelet.sock")
        kubelet.stop()
        assert isinstance(refused(tmp_path / "kubelet.sock"), SourceError)
        kubelet.start()
        kubelet.pods = [pod("later")]
        assert [each.name for each in parse(ask(tmp_path / "kubelet.sock"))] == ["later"]


class TestSocket:
    def test_there_is_none(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path / "none/none"):
            assert isinstance(refused(path), NoData)

    def test_nobody_listens(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "left"))
        error = refused(tmp_path / "left")
        assert (error.reason, isinstance(error, NoData)) == ("unavailable", False)

    def test_its_path_is_too_long_for_the_system(self, tmp_path: Path) -> None:
        assert refused(tmp_path / ("x" * 200)).reason == "config"

    def test_it_is_closed_before_an_answer(self, tmp_path: Path) -> None:
        with listening(tmp_path / "s", lambda link: link.recv(10)):
            assert refused(tmp_path / "s").reason == "unavailable"

    def test_it_speaks_another_protocol(self, tmp_path: Path) -> None:
        with listening(tmp_path / "s", answering(b"HTTP/1.1 400 no\r\n\r\n")):
            # For HTTP/2 this is the beginning of a frame that never comes whole.
            assert refused(tmp_path / "s").reason == "unavailable"


def http2(status: str, body: bytes, *trailers: tuple[str, str]) -> Callable[[socket.socket], None]:
    """Answer the first request by HTTP/2."""

    def serve(link: socket.socket) -> None:
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        server.receive_data(link.recv(65536))
        server.send_headers(1, [(":status", status)])
        server.send_data(1, body, end_stream=not trailers)
        if trailers:
            server.send_headers(1, trailers, end_stream=True)
        link.sendall(server.data_to_send())
        link.recv(65536)

    return serve


@pytest.mark.parametrize(
    ("body", "trailers"),
    [
        (b"", []),
        (b"", [("grpc-status", "0")]),
        (b"\0\0\0\0\2a", [("grpc-status", "0")]),
        (b"\0\0\0\0\1ab", [("grpc-status", "0")]),
        (b"\1\0\0\0\1a", [("grpc-status", "0")]),
    ],
    ids=["no status", "no message", "half a message", "more than one", "compressed"],
)
def test_what_is_not_one_whole_message_is_malformed(
    tmp_path: Path, body: bytes, trailers: list[tuple[str, str]]
) -> None:
    with listening(tmp_path / "s", http2("200", body, *trailers)):
        assert refused(tmp_path / "s").reason == "malformed"


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come(tmp_path: Path) -> None:
    with listening(tmp_path / "s", http2("200", b"\0\xff\xff\xff\xff", ("grpc-status", "0"))):
        assert refused(tmp_path / "s").reason == "too_large"


def outcome(path: Path) -> str:
    try:
        ask(path, seconds=2.0)
    except SourceError as error:
        return error.reason
    return "answered"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_frames_that_were_changed_are_an_answer_or_an_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever comes, it is a message or a ``SourceError``, and never anything else."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    frames = bytearray(server.data_to_send())
    frames += bytes.fromhex("00000101040000000188000006000000000001000000000161")
    frames[data.draw(st.integers(0, len(frames) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz"
    path.unlink(missing_ok=True)
    with listening(path, answering(bytes(frames))):
        reasons = {"answered", "malformed", "unavailable", "too_large", "timeout"}
        assert outcome(path) in reasons


def test_without_the_package_it_says_what_to_install(kubelet: Kubelet, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["h2"] = None
from pathlib import Path
from wattshed_exporter.allocations.unary_call import call
try:
    call(Path({str(tmp_path / "kubelet.sock")!r}), "/a/b", b"", deadline_seconds=1, most_bytes=1)
except Exception as error:
    print(error.reason, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "missing_package" in done.stdout
    assert "pip install 'wattshed[k8s]'" in done.stdout
