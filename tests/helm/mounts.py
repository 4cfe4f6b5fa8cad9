"""A pod's volumes as files, as a kubelet lays them: one folder for each mount, below another root.

A volume that is read-only gets group and ``0440`` of an fsGroup, as in
pkg/volume/volume_linux.go of Kubernetes; texts that name mounted folders are rewritten to the root.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
DEFAULT_MODE = 0o644
IMAGE = {
    "WATTSHED_COLLECTOR_DATA": "/var/lib/wattshed",
    "WATTSHED_COLLECTOR_LISTEN": "0.0.0.0:9740",
}
"""What the image's environment says (collector/Dockerfile), which beats every file."""


def laid(
    pod: Json,
    container: Json,
    objects: Sequence[Json],
    more: Mapping[str, Mapping[str, str]],
    root: Path,
) -> None:
    """Write what a container finds in its mounts below ``root``.

    ``objects`` has the release's ConfigMaps and Secrets, ``more`` the Secrets that are there
    already, as texts by name and key. Raises KeyError where something is named that is nowhere.
    """
    held = {name: dict(texts) for name, texts in more.items()}
    maps = {}
    for found in objects:
        name = found["metadata"]["name"]
        if found["kind"] == "Secret":
            held[name] = secret_texts(found)
        elif found["kind"] == "ConfigMap":
            maps[name] = found["data"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    places = [mount["mountPath"] for mount in container["volumeMounts"]]
    for mount in container["volumeMounts"]:
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        volume = volumes.get(mount["name"], {})  # what is not there is a claim's
        for path, text, mode in _files(volume, held, maps):
            file = folder / path
            file.write_text(_moved(text, places, root))
            file.chmod(mode | 0o440 if "fsGroup" in pod.get("securityContext", {}) else mode)


def secret_texts(secret: Json) -> dict[str, str]:
    """Return what a Secret holds."""
    coded = {k: base64.b64decode(v).decode() for k, v in secret.get("data", {}).items()}
    return {**coded, **secret.get("stringData", {})}


def _files(volume: Json, held: Json, maps: Json) -> list[tuple[str, str, int]]:
    told = volume.get("projected") or volume.get("secret") or volume.get("configMap") or {}
    mode = told.get("defaultMode", DEFAULT_MODE)
    if "secret" in volume:
        sources = [{"secret": {"name": told["secretName"], **_items(told)}}]
    elif "configMap" in volume:
        sources = [{"configMap": {"name": told["name"], **_items(told)}}]
    else:
        sources = told.get("sources", [])
    found = []
    for source in sources:
        ((kind, named),) = source.items()
        texts = (held if kind == "secret" else maps)[named["name"]]
        items = named.get("items") or [{"key": key, "path": key} for key in texts]
        found += [(item["path"], texts[item["key"]], mode) for item in items]
    paths = [path for path, _, _ in found]
    assert len(paths) == len(set(paths)), f"two files of one name: {paths}"
    return found


def _items(told: Json) -> Json:
    return {"items": told["items"]} if "items" in told else {}


def _moved(text: str, places: Sequence[str], root: Path) -> str:
    longest = sorted(places, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest)), lambda found: f"{root}{found[0]}", text)
