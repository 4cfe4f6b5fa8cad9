"""What programs say that they produced, sent to a running collector, again and after a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed_collector.config import Config

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

ROWS = """
SELECT w.key, kind, source, o.model, total FROM outcome AS o FINAL
JOIN workload AS w FINAL USING (workload_id) ORDER BY ALL
"""


def post(collector: Running, document: Any, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return collector._ask("POST", "/v1/outcomes", body, headers)


def test_what_comes_again_changes_nothing_even_after_a_restart(
    tmp_path: Path, collect: Callable[[Config], AbstractContextManager[Running]]
) -> None:
    config = Config(listen="127.0.0.1:0", data=str(tmp_path))
    now = time.time()
    workload = {"key": "job-7", "name": "train", "team": "blue", "batch_class": "512"}
    said = {"workload": workload, "outcome": "step"}
    document = [
        {**said, "total": 40, "ts": now, "start": now - 60, "source": "n/1", "model": "llama"},
        {**said, "count": 3, "from": now - 60, "to": now, "id": "a"},
        {**said, "count": 4, "ts": now},
        {**said, "total": -1},
        {**said, "count": 4, "ts": now + 9999},
    ]
    rejected = {"negative": 1, "future_timestamp": 1}
    for _ in range(2):
        with collect(config) as collector:
            for _ in range(2):
                answer = post(collector, document, **{"Idempotency-Key": "k"})
                assert answer.status == 200
                assert answer.json["accepted"] == 3
                assert answer.json["rejected"] == rejected
                assert [p.partition(":")[0] for p in answer.json["problems"]] == ["[3]", "[4]"]
            bad = post(collector, [{**said, "total": "x"}, {**said, "count": 1, "ts": now}])
            assert (bad.status, len(bad.json["problems"])) == (400, 2)
            assert collector.counter("rejected_total", receiver="outcomes", reason="negative") == 2
            assert collector.rows(ROWS) == [
                ("job-7", "step", "id:a", "", 0.0),
                ("job-7", "step", "id:a", "", 3.0),
                ("job-7", "step", "key:k#2", "", 0.0),
                ("job-7", "step", "key:k#2", "", 4.0),
                ("job-7", "step", "n/1", "llama", 40.0),
            ]
            assert collector.rows("SELECT team, batch_class FROM v_workload") == [("blue", "512")]
