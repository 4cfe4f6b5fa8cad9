"""Basic authentication: who is let in, what it costs, and what is remembered."""

from __future__ import annotations

import base64

import bcrypt
import pytest

from wattshed_exporter.web.auth import MOST_REMEMBERED, BasicAuth, bcrypt_check

SECRET = "open: sesame é"


class Counting:
    """bcrypt, which notes what it was asked."""

    def __init__(self) -> None:
        self.costs: list[str] = []

    def __call__(self, password: bytes, hashed_password: bytes) -> bool:
        self.costs.append(hashed_password.decode().split("$")[2])
        return bcrypt.checkpw(password, hashed_password)


def hashed(password: str, rounds: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def check() -> Counting:
    return Counting()


def test_a_user_with_the_right_password_is_let_in(check: Counting) -> None:
    auth = BasicAuth({"alice": hashed(SECRET), "bob": hashed("b")}, check)
    assert auth.allows(header("alice", SECRET))
    assert auth.allows(header("bob", "b").replace("Basic", "basic"))
    assert not auth.allows(header("alice", "b"))
    assert not auth.allows(header("bob", SECRET))


def test_hashes_of_htpasswd_are_known(check: Counting) -> None:
    auth = BasicAuth({"alice": hashed(SECRET).replace("$2b$", "$2y$")}, check)
    assert auth.allows(header("alice", SECRET))


def test_bcrypt_is_paid_once_for_a_right_answer_and_always_for_a_wrong_one(
    check: Counting,
) -> None:
    auth = BasicAuth({"alice": hashed(SECRET)}, check)
    for _ in range(3):
        assert auth.allows(header("alice", SECRET))
    assert len(check.costs) == 1
    for _ in range(3):
        assert not auth.allows(header("alice", "wrong"))
    assert len(check.costs) == 4


def test_an_unknown_user_costs_as_much_as_a_wrong_password(check: Counting) -> None:
    auth = BasicAuth({"alice": hashed(SECRET, 6), "bob": hashed("b", 4)}, check)
    assert not auth.allows(header("mallory", SECRET))
    assert not auth.allows(header("alice", "wrong"))
    assert check.costs == ["06", "06"]


def test_what_is_remembered_is_bounded(check: Counting) -> None:
    """bcrypt sees 72 bytes, so one user may be right in many ways."""
    auth = BasicAuth({"alice": hashed("p" * 72)}, check)
    for n in range(MOST_REMEMBERED + 1):
        assert auth.allows(header("alice", "p" * (72 + n)))
    assert len(auth._right) == 1


@pytest.mark.parametrize(
    "told",
    [
        "", "Basic", "Basic ", "Basic %%%", "Bearer abc", "Basic YWxpY2U=", "Basic é",
        header("", ""), header("alice", "\0"), header("alice", SECRET)[:-3], "Basic //79/Q==",
    ],
)  # fmt: skip
def test_other_answers_are_refused(check: Counting, told: str) -> None:
    assert not BasicAuth({"alice": hashed(SECRET)}, check).allows(told)


def test_one_users_name_is_not_taken_for_anothers(check: Counting) -> None:
    auth = BasicAuth({"a": hashed("b:c"), "a:b": hashed("c")}, check)
    assert auth.allows(header("a", "b:c"))
    assert not auth.allows("Basic " + base64.b64encode(b"a:b").decode())


def test_bcrypt_is_the_one_that_is_installed() -> None:
    assert bcrypt_check() is bcrypt.checkpw
