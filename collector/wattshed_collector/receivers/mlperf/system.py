"""What a result was measured on, as its submitter describes the system.

A submission keeps ``systems/<system>.json`` beside ``results/<system>/<benchmark>/<scenario>``;
folders that were taken out of one may lie beside a ``systems`` of their own as
``<system>_<model>_<scenario>``. Keys: mlcommons/policies, submission_rules (system_desc_id.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .model import read_json, wrong

HIGHEST = 7
"""From run_1 up to the submitter's folder."""
NONE = ("", "n/a", "na", "none", "-")


def hardware(directory: Path, notes: list[str]) -> str:
    """Return what the system computes with, "" where nobody says: such as ``8 x NVIDIA H200``.

    Its accelerators, and where it has none its processors, of all its nodes. The meter is at the
    wall of the whole system, whose energy is set against all of them.
    """
    path = _find(directory)
    if path is None:
        notes.append(
            "no systems/<system>.json above the folder describes the system: what it was measured "
            "on is not known"
        )
        return ""
    told = read_json(path)
    if not isinstance(told, dict):
        raise wrong(path, 1, "expected a JSON object")
    for name, number in (
        ("accelerator_model_name", "accelerators_per_node"),
        ("host_processor_model_name", "host_processors_per_node"),
    ):
        if model := _text(told, name):
            count = _count(told, number) * _count(told, "number_of_nodes")
            return f"{count} x {model}" if count > 1 else model
    notes.append(f"{path} names neither accelerators nor processors")
    return ""


def _find(directory: Path) -> Path | None:
    parts = directory.resolve().parts
    for depth in range(len(parts) - 1, max(len(parts) - 1 - HIGHEST, 0), -1):
        folder = Path(*parts[:depth]) / "systems"
        described = {path.stem.lower(): path for path in sorted(folder.glob("*.json"))}
        for name in (*parts[depth:], parts[-1].partition("_")[0]):
            if name.lower() in described:
                return described[name.lower()]
    return None


def _text(told: Mapping[str, Any], name: str) -> str:
    said = told.get(name)
    text = " ".join(said.split()) if isinstance(said, str) else ""
    return "" if text.lower() in NONE else text


def _count(told: Mapping[str, Any], name: str) -> int:
    """Return a number that may be written as a text; 1 where none is said."""
    text = str(told.get(name, ""))
    return int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 7 else 1
