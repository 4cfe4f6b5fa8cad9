"""What is taken in, how it is written, and which exporters are pulled from."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

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
        return above_zero(
            {
                "max_body_bytes": self.max_body_bytes,
                "max_json_bytes": self.max_json_bytes,
                "queue_rows": self.queue_rows,
                "remote_write_interval_seconds": self.remote_write_interval_seconds,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """Exporters to pull from."""

    targets: tuple[str, ...] = option(
        (),
        "URLs of /metrics pages of wattshed-exporters or others, such as "
        "http://node1:9741/metrics; node=URL says which machine it is.",
    )
    cluster: str = option("", "Cluster of the targets, where their pages do not name one.")
    interval_seconds: float = option(10.0, "Time between two scrapes of a target.")
    timeout_seconds: float = option(5.0, "Time that a scrape may take.")
    max_body_bytes: int = option(32 * 2**20, "Largest page that is read.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"targets: {target!r} is not an http or https URL"
            for target in self.targets
            if urlsplit(named_target(target)[1]).scheme not in ("http", "https")
        ]
        return found + above_zero(
            {
                "interval_seconds": self.interval_seconds,
                "timeout_seconds": self.timeout_seconds,
            }
        )


def above_zero(values: dict[str, float]) -> list[str]:
    """Return a sentence for each value that is not above 0, by its name."""
    return [f"{name}: must be above 0" for name, value in values.items() if value <= 0]


def named_target(target: str) -> tuple[str, str]:
    """Split ``node=URL`` into both; the name is "" where a target is a URL alone."""
    name, equals, url = target.partition("=")
    return (name.strip(), url.strip()) if equals and "/" not in name else ("", target)
