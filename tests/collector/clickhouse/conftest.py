"""An engine of ``/clickhouse`` on a real store, with a secret where nobody may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.clickhouse.asking import SECRET, Ask

from wattshed_collector.clickhouse.asked import question
from wattshed_collector.clickhouse.engine import Answer, Engine, Limits


@pytest.fixture(scope="module")
def secret(shared_bed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with the secret; a table has it too."""
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(SECRET)
    shared_bed.client.command(
        "CREATE TABLE hidden (secret String) ENGINE = Memory AS SELECT {s:String}", {"s": SECRET}
    )
    yield file
    shared_bed.client.command("DROP TABLE hidden")


@pytest.fixture(scope="module")
def engine(shared_bed: Any, secret: Path) -> Iterator[Engine]:
    limits = Limits(seconds=5.0, rows=2000, memory_bytes=100 * 2**20)
    engine = Engine(shared_bed.store.embedded, limits)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Ask:
    """Asks one query; keywords are parameters of the URL."""

    def ask(sql: str, form: str = "JSONCompactEachRow", **told: str) -> Answer:
        query = [("query", sql), ("default_format", form), *told.items()]
        return engine.answer(question(query, {}, b""), "test")

    return ask
