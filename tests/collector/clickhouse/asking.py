"""What the tests of ``/clickhouse`` share: who asks, and the secret that nobody may see."""

from __future__ import annotations

from collections.abc import Callable

from wattshed_collector.clickhouse.engine import Answer

SECRET = "canary-5f3a"
Ask = Callable[..., Answer]
