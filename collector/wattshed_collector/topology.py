"""The operator's topology: a YAML file that says which meter lies inside which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wattshed_exporter.errors import ConfigError

Topology = Mapping[str, str | None]
"""Parent by key or glob of children; None: it hangs on nothing, and contains nothing by node."""


def load(file: Path) -> Topology:
    """Read ``parents: {child key or glob: parent key or null}``.

    Raises ConfigError with every problem, each as one sentence. Whether the devices exist is not
    asked here: they may come later.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"topology.file: {file} cannot be read: {error}"]) from error
    problems = list(_problems(document))
    if problems:
        raise ConfigError([f"topology.file: {file}: {problem}" for problem in problems])
    return dict(document["parents"])


def _problems(document: Any) -> list[str]:
    if not isinstance(document, dict) or not isinstance(document.get("parents"), dict):
        return ["it must hold `parents:` with a mapping of devices to the meters around them"]
    found = [f"{name!r} is unknown" for name in document if name != "parents"]
    for child, parent in document["parents"].items():
        if not isinstance(child, str) or not child:
            found.append(f"parents: {child!r} is not the key of a device")
        if parent is not None and (not isinstance(parent, str) or not parent):
            found.append(f"parents: {child}: {parent!r} is neither the key of a meter nor null")
    return found
