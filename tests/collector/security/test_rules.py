"""The security file: what it grants, what it refuses, and that no secret is repeated."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from wattshed_collector.cli import token as token_command
from wattshed_collector.security.rules import Identity, Role, load
from wattshed_exporter.errors import ConfigError

TOKEN = "wsd_" + "t" * 43
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
BCRYPT = "$2b$04$abcdefghijklmnopqrstuuHy2MRjb5DWCFQMzUEGWbbDKLTYEfEK6"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "security.yaml"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def problems(folder: Path, text: str, mode: int = 0o600) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text, mode))
    return "\n".join(caught.value.problems)


def test_a_token_is_known_by_its_hash_and_no_other_is(tmp_path: Path) -> None:
    text = f"""
tokens:
  - {{name: pool, sha256: ["{HASH}", "{"0" * 64}"], roles: [ingest], clusters: [a], nodes: [n*]}}
"""
    rules = load(written(tmp_path, text))
    assert rules.token(TOKEN.encode()) == Identity(
        "pool", frozenset({Role.INGEST}), ("a",), ("n*",)
    )
    for wrong in (b"", TOKEN[:-1].encode(), HASH.encode(), b"\xff" * 43):
        assert rules.token(wrong) is None
    assert TOKEN not in repr(rules)
    assert HASH not in repr(rules)


def test_a_token_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "ops.token").write_text(TOKEN + "\n")
    (tmp_path / "ops.token").chmod(0o640)
    text = "tokens: [{name: ops, file: ops.token, roles: [admin]}]"
    rules = load(written(tmp_path, text))
    who = rules.token(TOKEN.encode())
    assert who is not None
    assert all(who.may(role) for role in Role)
    assert rules.files == (tmp_path / "security.yaml", tmp_path / "ops.token")


def test_what_wattshed_token_new_prints_is_an_entry(tmp_path: Path) -> None:
    text = token_command.entry("pool-1", TOKEN, ["ingest", "read"], ["a"], ["gpu-*"])
    who = load(written(tmp_path, text)).token(TOKEN.encode())
    assert who == Identity("pool-1", frozenset({Role.INGEST, Role.READ}), ("a",), ("gpu-*",))
    assert TOKEN not in text


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o660, 0o604])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    said = problems(tmp_path, "anonymous: [read]", mode)
    assert f"has mode {mode:04o}" in said
    assert "chmod 600" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("tokens: [", "is not YAML, line 1"),
        ("[]", "should hold mappings"),
        ("tokens: [{name: a, roles: [ingest]}]", "neither sha256 nor file"),
        (f"tokens: [{{name: a, sha256: ['{HASH}']}}]", "a has no roles"),
        (f"tokens: [{{name: a, sha256: ['{HASH}'], roles: [root]}}]", "none of ingest, read"),
        (f"tokens: [{{name: 'a b', sha256: ['{HASH}'], roles: [read]}}]", "is no name"),
        ("tokens: [{name: a, sha256: [SECRET], roles: [read]}]", "64 lower-case hex digits"),
        ("tokens: [{name: a, file: none, roles: [read]}]", "none: cannot be read"),
        ("users: [{name: a, bcrypt: SECRET, roles: [read]}]", "no bcrypt hash"),
        ("certificates: [{name: a, names: [gpu], roles: [read]}]", "is not CN:"),
        ("certificates: [{name: a, roles: [read]}]", "no names of certificates"),
        (
            f"{{users: [{{name: a, bcrypt: {BCRYPT}, roles: [read]}}], "
            "certificates: [{name: a, names: ['CN:a'], roles: [read]}]}",
            "a is there twice",
        ),
        ("anonymous: [read]\nanonymous: [metrics]", "anonymous is there twice"),
        ("anonymus: [read]", "did you mean anonymous?"),
    ],
)
def test_every_mistake_is_a_sentence_without_the_secret(
    tmp_path: Path, text: str, said: str
) -> None:
    told = problems(tmp_path, text)
    assert said in told
    assert "SECRET" not in told
    assert BCRYPT not in told


def test_a_token_file_that_is_too_short_or_open_is_refused(tmp_path: Path) -> None:
    text = "tokens: [{name: a, file: short, roles: [read]}]"
    (tmp_path / "short").write_text("hunter2")
    (tmp_path / "short").chmod(0o600)
    assert "holds no token" in problems(tmp_path, text)
    (tmp_path / "short").chmod(0o644)
    assert "has mode 0644" in problems(tmp_path, text)


def test_a_certificate_is_known_by_kind_and_glob(tmp_path: Path) -> None:
    entry = {"name": "edge", "names": ["DNS:*.edge.example", "CN:gpu-1"], "roles": ["ingest"]}
    rules = load(written(tmp_path, yaml.safe_dump({"certificates": [entry]})))
    assert rules.certificate(["DNS:a.edge.example"]) is not None
    assert rules.certificate(["CN:gpu-1", "DNS:x"]) is not None
    assert rules.certificate(["CN:a.edge.example"]) is None
    assert rules.certificate(["DNS:gpu-1"]) is None
    assert rules.certificate([]) is None
