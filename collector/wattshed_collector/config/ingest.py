"""What is taken in, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass

from wattshed_exporter.settings import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """What is taken in and how it is written."""

    max_body_bytes: int = option(16 * 2**20, "Largest request body, as sent.")
    max_decoded_bytes: int = option(64 * 2**20, "Largest request body, decompressed.")
    max_json_bytes: int = option(
        8 * 2**20, "Largest JSON document, decompressed: in memory it takes 25 times its size."
    )
    future_seconds: float = option(600.0, "How far ahead of our clock an event time may be.")
    group_seconds: float = option(0.1, "Time that a write waits for others to share its insert.")
    group_longest_seconds: float = option(
        1.5, "Longest that it waits once writing takes more than a tenth of the time."
    )
    queue_rows: int = option(500_000, "Rows that may wait to be written; beyond, senders wait.")
    remote_write_interval_seconds: float = option(
        30.0,
        "Time between two scrapes of a Prometheus that writes here; power is not integrated and "
        "an allocation not prolonged over more than three of them.",
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"{name}: must not be below 0"
            for name in ("future_seconds", "group_seconds", "group_longest_seconds")
            if getattr(self, name) < 0
        ]
        return found + above_zero(
            {
                "max_body_bytes": self.max_body_bytes,
                "max_decoded_bytes": self.max_decoded_bytes,
                "max_json_bytes": self.max_json_bytes,
                "queue_rows": self.queue_rows,
                "remote_write_interval_seconds": self.remote_write_interval_seconds,
            }
        )


def above_zero(values: dict[str, float]) -> list[str]:
    """Return a sentence for each value that is not above 0, by its name."""
    return [f"{name}: must be above 0" for name, value in values.items() if value <= 0]
