"""A page in the Prometheus text format to samples.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from .dialect import Sample


def samples(text: str, scraped_ms: int) -> list[Sample]:
    """Return the samples of one scrape. Raises ValueError where the text is not an exposition.

    Times on the page are left out: what it carries was asked for now. So are comments, because the
    parser gives every counter the name that OpenMetrics would, and it is called otherwise.
    """
    bare = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return [
        Sample(said.name, said.labels, said.value, scraped_ms)
        for family in text_string_to_metric_families(bare)
        for said in family.samples
    ]
