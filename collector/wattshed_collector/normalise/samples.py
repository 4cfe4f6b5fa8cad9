"""A page in the Prometheus text format to samples.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from .dialect import Sample


def samples(text: str, scraped_ms: int) -> list[Sample]:
    """Return the samples of one scrape. Raises ValueError where the text is not an exposition.

    Times on the page are left out: what it carries was asked for now.
    """
    return [
        Sample(said.name, said.labels, said.value, scraped_ms)
        for family in text_string_to_metric_families(text)
        for said in family.samples
    ]
