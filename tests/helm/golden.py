"""What the chart makes of its defaults, as a file that ``python -m tests.helm.golden`` writes."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.helm.chart import CHART, render

GOLDEN = Path(__file__).parents[1] / "golden/chart.yaml"


def made() -> str:
    """Return the objects by kind and name, without what is random or of a version."""
    objects = sorted(render({}), key=lambda o: (o["kind"], o["metadata"]["name"]))
    for each in objects:
        if each["kind"] == "Secret":
            each["data"] = dict.fromkeys(each.get("data", {}), "(random)")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    told = yaml.safe_dump_all(objects, sort_keys=True, width=100)
    return str(told.replace(version, "0.0.0"))


if __name__ == "__main__":
    GOLDEN.write_text(made())
