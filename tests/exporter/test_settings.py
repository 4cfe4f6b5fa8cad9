"""The settings mechanism: precedence, every kind of value, and every problem at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from wattshed_exporter import __version__
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import documentation, load, load_or_exit, option


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    url: str
    weight: int = option(1, "How much.")

    def problems(self) -> Iterator[str]:
        if self.weight < 0:
            yield f"weight: {self.weight} is below 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    wait_seconds: float = option(1.5, "How long.")
    token: str = option("", "Who we are.", secret=True)
    pin: int = option(0, "A secret number.", secret=True)

    def problems(self) -> list[str]:
        return ["wait_seconds: is not above 0"] if self.wait_seconds <= 0 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str = option(lambda: "made", "A name.", shown="made up")
    count: int = option(3, "A | number.")
    loud: bool = option(False, "Whether to shout.")
    colour: Colour = option(Colour.RED, "Which colour.")
    file: Path | None = option(None, "A file.")
    folder: Path = option(Path("/tmp"), "A folder.")
    parts: tuple[str, ...] = option(("a", "b"), "Some parts.")
    targets: tuple[Target, ...] = option((), "Where to.", file_only=True)
    inner: Inner = field(default_factory=Inner)


def settings(
    *argv: str, environ: dict[str, str] | None = None, file: str = "", **more: Any
) -> Settings:
    return load(Settings, argv, environ or {}, prog="prog", prefix="T", **more)


def problems(*argv: str, **more: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        settings(*argv, **more)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_defaults() -> None:
    assert settings() == Settings()
    assert settings().name == "made"


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(file: Path) -> None:
    file.write_text("name: file\ncount: 1\ninner: {wait_seconds: 7}\nloud: true\n")
    got = settings(
        "--config", str(file), "--name", "flag", environ={"T_NAME": "env", "T_COUNT": "2"}
    )
    assert (got.name, got.count, got.loud) == ("flag", 2, True)
    assert got.inner == Inner(wait_seconds=7.0)


def test_the_environment_may_name_the_file(file: Path) -> None:
    file.write_text("count: 9\n")
    assert settings(environ={"T_CONFIG": str(file)}).count == 9


def test_flags_take_every_kind_of_value() -> None:
    got = settings(
        "--loud", "--colour=green", "--file", "x.csv", "--folder=/y", "--parts", "p, q,",
        "--inner.wait-seconds=2", "--inner.token", "-s-", "--count=-4",
    )  # fmt: skip
    assert got == Settings(
        loud=True, colour=Colour.GREEN, file=Path("x.csv"), folder=Path("/y"), parts=("p", "q"),
        inner=Inner(wait_seconds=2.0, token="-s-"), count=-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "loud"), [("--loud=no", False), ("--no-loud", False), ("--loud=ON", True)]
)
def test_a_switch_can_be_turned_off(argv: str, loud: bool) -> None:
    assert settings(argv, environ={"T_LOUD": "true"}).loud is loud


def test_underscores_are_as_good_as_hyphens() -> None:
    assert settings("--inner.wait_seconds", "4").inner.wait_seconds == 4.0


def test_an_empty_variable_unsets_what_may_be_absent(file: Path) -> None:
    file.write_text("file: x.csv\n")
    assert settings("--config", str(file), environ={"T_FILE": ""}).file is None


def test_the_file_takes_every_kind_of_value(file: Path) -> None:
    file.write_text(
        "count: 3.0\ncolour: green\nfile: null\nparts: [x, y]\nfolder: /z\ninner:\n"
        "targets:\n  - url: http://a\n  - {url: http://b, weight: 2}\n"
    )
    got = settings("--config", str(file))
    assert got.targets == (Target(url="http://a"), Target(url="http://b", weight=2))
    assert (got.parts, got.count, got.folder) == (("x", "y"), 3, Path("/z"))


def test_a_list_may_be_written_in_one_word(file: Path) -> None:
    file.write_text("parts: x,y\n")
    assert settings("--config", str(file)).parts == ("x", "y")


def test_every_problem_is_told_at_once_and_where(file: Path) -> None:
    file.write_text("cuont: 1\nloud: 1\ninner: {wait: 1, wait_seconds: fast}\nname: 5\nparts: {}\n")
    told = problems(
        "--config", str(file), "--nmae", "x", "stray", "--count", "many", "--parts",
        environ={"T_COLUOR": "red", "T_FOLDERS": "x", "T_COLOUR": "blue", "T_CONFIG": "ignored"},
    )  # fmt: skip
    assert told == (
        "unknown flag --nmae; did you mean --name?",
        "unknown argument stray",
        "--parts: a value is missing",
        f"{file}: unknown key cuont; did you mean count?",
        f"{file}: loud: 1 is not true or false",
        f"{file}: inner: unknown key wait",
        f"{file}: inner.wait_seconds: 'fast' is not a number",
        f"{file}: name: 5 is not text; put it in quotes",
        f"{file}: parts: {{}} is not a list",
        "T_COLOUR: 'blue' is none of red, green",
        "unknown environment variable T_COLUOR; did you mean T_COLOUR?",
        "unknown environment variable T_FOLDERS; did you mean T_FOLDER?",
        "--count: 'many' is not a number",
    )


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("2.5", "is not a whole number"),
        ("inf", "is not a finite number"),
        ("nan", "is not a finite number"),
        ("", "is not a number"),
    ],
)
def test_numbers_must_be_ones(value: str, complaint: str) -> None:
    assert problems(f"--count={value}") == (f"--count: {value!r} {complaint}",)


def test_a_number_of_the_file_may_be_too_large_for_any_machine(file: Path) -> None:
    file.write_text(f"count: 1{'0' * 400}\n")
    (told,) = problems("--config", str(file))
    assert told.endswith("0 is not a number")


def test_whole_numbers_stay_exact() -> None:
    assert settings("--count", "9007199254740993").count == 9007199254740993
    assert settings("--count", "1e5").count == 100_000


def test_a_secret_is_never_repeated(file: Path) -> None:
    file.write_text("inner: {token: 1234}\n")
    told = problems("--config", str(file), "--inner.pin", "hunter2")
    assert told == (
        f"{file}: inner.token: the value is not text; put it in quotes",
        "--inner.pin: the value is not a number",
    )


def test_what_a_section_objects_to_is_told_where_it_was_set(file: Path) -> None:
    file.write_text("inner: {wait_seconds: -1}\n")
    assert problems("--config", str(file)) == (f"{file}: inner.wait_seconds: is not above 0",)
    assert problems("--inner.wait-seconds=0") == ("--inner.wait-seconds: is not above 0",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("targets: [{weight: 2}]", "lacks 'url'"),
        ("targets: [{url: a, size: 2}]", "unknown key size"),
        ("targets: [{url: a, weight: -2}]", "weight: -2 is below 0"),
        ("targets: [5]", "should hold mappings of keys to values"),
        ("targets: {url: a}", "is not a list"),
    ],
)
def test_sections_in_a_list_are_checked_too(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    (told,) = problems("--config", str(file))
    assert told.startswith(f"{file}: targets: ")
    assert complaint in told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is not YAML"),
        ("- a", "should be a mapping of keys to values"),
        ("inner: 5", "inner: should be a mapping of keys to values"),
    ],
)
def test_a_broken_file(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    (told,) = problems("--config", str(file))
    assert told.startswith(f"{file}: ")
    assert complaint in told


def test_a_missing_file(file: Path) -> None:
    assert problems("--config", str(file)) == (
        f"{file}: cannot be read: No such file or directory",
    )


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("")
    assert settings("--config", str(file)) == Settings()


def test_what_kubernetes_and_our_other_programs_set_is_left_alone() -> None:
    environ = {
        "T_SERVICE_HOST": "10.0.0.1",
        "T_PORT": "tcp://10.0.0.1:9741",
        "T_PORT_9741_TCP_ADDR": "10.0.0.1",
        "T_WEB_SERVICE_PORT_METRICS": "9741",
        "T_OTHER_NAME": "x",
    }
    assert settings(environ=environ, other_prefixes=("T_OTHER_",)) == Settings()


def test_help_shows_every_option_with_default_and_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        settings("--nonsense", "--help", description="It does.", epilog_examples=["prog --loud"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "usage: prog [--config FILE] [options]\n\nIt does.\n" in said
    assert "  --count COUNT\n      A | number. (default: 3) [T_COUNT]\n" in said
    assert "  --loud\n      Whether to shout. (default: false) [T_LOUD]\n" in said
    assert "(default: made up)" in said
    assert "targets" not in said
    assert said.endswith("examples:\n  prog --loud\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"prog {__version__}\n"


def test_problems_end_the_program_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_or_exit(Settings, ["--count", "x", "--what"], {}, prog="prog", prefix="T")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "prog: unknown flag --what\nprog: --count: 'x' is not a number\n"
    )


def test_the_manual_has_a_row_for_every_option() -> None:
    rows = documentation(Settings, "T").splitlines()
    assert rows[:2] == [
        "| key | flag | environment | default | meaning |",
        "|---|---|---|---|---|",
    ]
    assert "| `count` | `--count` | `T_COUNT` | `3` | A \\| number. |" in rows
    assert (
        "| `inner.wait_seconds` | `--inner.wait-seconds` | `T_INNER_WAIT_SECONDS` | `1.5` "
        "| How long. |" in rows
    )
    assert "| `targets` |  |  |  | Where to. |" in rows
    assert len(rows) == 2 + 11
