"""Rules in force: loaded anew when a file changes, kept where the new one is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.web.policy import Policies, Policy, RateLimit, Stamp, load

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


@pytest.fixture
def file(tmp_path: Path, certificates: Path) -> Path:
    shutil.copy(certificates / "server.pem", tmp_path)
    shutil.copy(certificates / "server.key", tmp_path)
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    return file


def change(file: Path, text: str) -> None:
    """Replace a file as Kubernetes and certbot do: another inode under the same name."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


def test_without_a_file_there_are_no_rules() -> None:
    policies = Policies(None)
    assert not policies.secure
    policy = policies.now()
    assert (policy.context, policy.auth, policy.headers) == (None, None, ())
    assert all(policy.limit.allows() for _ in range(1000))


def test_rules_are_loaded_anew_when_a_file_changes(file: Path) -> None:
    policies = Policies(file)
    first = policies.now()
    assert policies.now() is first
    change(file, file.read_text() + f"basic_auth_users: {{alice: {HASH}}}\n")
    second = policies.now()
    assert second is not first
    assert second.auth is not None
    change(file.with_name("server.pem"), file.with_name("server.pem").read_text())
    assert policies.now().context is not second.context


def test_a_broken_file_leaves_what_was(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    policies = Policies(file)
    first = policies.now()
    whole = file.with_name("server.pem").read_text()
    change(file.with_name("server.pem"), whole[:100])
    assert policies.now() is first
    assert policies.now() is first
    assert len(caplog.messages) == 1
    assert "stays as it was" in caplog.text
    file.with_name("server.key").unlink()
    assert policies.now() is first
    for told, text in enumerate(("basic_auth_users: [", "a: 2026-99-99", "[" * 5000), 3):
        change(file, text)
        assert policies.now() is first
        assert len(caplog.messages) == told


def test_tls_is_not_turned_off_by_a_change(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    policies = Policies(file)
    change(file, "rate_limit: {interval: 1s, burst: 1}\n")
    assert policies.now().context is not None
    assert "TLS can be given up by a restart only" in caplog.text


def test_tls_is_not_turned_on_by_a_change(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    secure = file.read_text()
    change(file, "rate_limit: {interval: 1s, burst: 1}\n")
    policies = Policies(file)
    change(file, secure)
    assert policies.now().context is None
    assert "TLS is turned on by a restart only" in caplog.text


VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key%s}\n"
USERS = f"basic_auth_users: {{alice: {HASH}}}\n"


@pytest.mark.parametrize(
    ("closed", "open_", "said"),
    [
        (USERS, "", "is empty"),
        (USERS, "# the users come below\n", "is empty"),
        (USERS, "rate_limit: {interval: 1s, burst: 9}\n", "basic_auth_users can be given up by"),
        (TLS % f", {VERIFIED}", TLS % "", "the certificate of each client can be given up by"),
        (
            TLS % f", {VERIFIED}, client_allowed_sans: [a.example]",
            TLS % f", {VERIFIED}",
            "client_allowed_sans can be given up by",
        ),
    ],
    ids=("empty", "comment", "users", "certificate", "names"),
)
def test_a_file_that_is_rewritten_in_place_opens_nothing_in_between(
    file: Path, certificates: Path, caplog: pytest.LogCaptureFixture,
    closed: str, open_: str, said: str,
) -> None:  # fmt: skip
    shutil.copy(certificates / "ca.pem", file.parent)
    file.write_text(closed)
    policies = Policies(file)
    first = policies.now()
    file.write_text(open_)
    assert policies.now() is first
    assert policies.now() is first
    assert len(caplog.messages) == 1
    assert said in caplog.text
    file.write_text(closed + "http_server_config: {headers: {X-Frame-Options: deny}}\n")
    second = policies.now()
    assert second is not first
    assert second.guards == first.guards
    assert second.headers


def test_users_may_be_added_and_changed_by_a_change(file: Path) -> None:
    file.write_text("rate_limit: {interval: 1s, burst: 1}\n")
    policies = Policies(file)
    change(file, USERS)
    first = policies.now().auth
    assert first is not None
    change(file, USERS.replace("alice", "bob"))
    assert policies.now().auth not in (None, first)


@pytest.mark.parametrize("name", ["web.yml", "server.pem"])
def test_what_changes_while_it_is_loaded_is_loaded_again(file: Path, name: str) -> None:
    loads: list[Policy] = []

    def slow(told: Path, seen: dict[Path, Stamp]) -> Policy:
        loads.append(load(told, seen))
        if len(loads) == 2:
            changed = told.with_name(name)
            change(changed, changed.read_text() + "\n")
        return loads[-1]

    policies = Policies(file, slow)
    change(file, file.read_text() + USERS)
    assert policies.now() is loads[1]
    assert policies.now() is loads[2]
    assert policies.now() is loads[2]
    assert len(loads) == 3


def test_a_certificate_that_was_missing_is_looked_for_again(file: Path) -> None:
    policies = Policies(file)
    first = policies.now()
    change(file, file.read_text().replace("server.", "next."))
    assert policies.now() is first
    for kind in ("key", "pem"):
        shutil.copy(file.with_name(f"server.{kind}"), file.with_name(f"next.{kind}"))
    assert policies.now() is not first


def test_a_file_rewritten_within_a_tick_of_the_clock_is_seen_by_its_size(file: Path) -> None:
    policies = Policies(file)
    first, told = policies.now(), file.stat()
    with file.open("a") as more:
        more.write(USERS)
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert policies.now() is not first


@pytest.mark.parametrize(
    ("name", "content"), [("server.key", "nothing"), ("server.pem", "nothing"), ("server.pem", "")]
)
def test_files_that_are_wrong(file: Path, name: str, content: str) -> None:
    file.with_name(name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    pair = f"{file.parent}/server.pem and {file.parent}/server.key"
    assert problem.startswith(f"{file}: tls_server_config.cert_file: {pair}: ")


def test_a_key_of_another_certificate_is_refused(file: Path, certificates: Path) -> None:
    shutil.copy(certificates / "client.key", file.with_name("server.key"))
    with pytest.raises(ConfigError, match="KEY_VALUES_MISMATCH"):
        load(file)


def test_every_problem_of_every_part_is_told(file: Path) -> None:
    file.with_name("server.key").unlink()
    ca = "client_auth_type: VerifyClientCertIfGiven, client_ca_file: none.pem"
    file.write_text(f"tls_server_config: {{cert_file: server.pem, key_file: server.key, {ca}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    folder = file.parent
    assert caught.value.problems == (
        f"{file}: tls_server_config.key_file: {folder}/server.key: "
        "cannot be read: No such file or directory",
        f"{file}: tls_server_config.client_ca_file: {folder}/none.pem: No such file or directory",
    )


def test_an_encrypted_key_is_refused_and_not_asked_for(file: Path) -> None:
    key = file.with_name("server.key")
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key)]
    subprocess.run([*command, "-out", str(key)], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="the key is encrypted"):
        load(file)


def test_without_bcrypt_there_is_a_plain_sentence(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}\n")
    code = (
        "import sys; sys.modules['bcrypt'] = None\n"
        "from wattshed_exporter.__main__ import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "--web.config.file", str(file)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean)
    assert (done.returncode, done.stderr) == (
        2,
        f"wattshed-exporter: --web.config.file: {file}: basic_auth_users: needs the package "
        "bcrypt: pip install 'wattshed[web]'\n",
    )


def test_a_bucket_is_filled_and_emptied() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 3, lambda: now[0])
    assert [limit.allows() for _ in range(4)] == [True, True, True, False]
    now[0] = 1.9
    assert not limit.allows()
    now[0] = 2.0
    assert [limit.allows() for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [limit.allows() for _ in range(4)] == [True, True, True, False]
