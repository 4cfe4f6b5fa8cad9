"""Which device a DRA driver means by the name under which it published it: its ResourceSlices.

Asked at the API server, limited to this node, in whichever version the server has. Source:
``resource.k8s.io`` v1, v1beta2 and v1beta1, whose devices have their attributes in ``basic``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from wattshed_exporter.errors import SourceError

from .kube_api import Json, KubeApi
from .podresources_v1 import Dynamic

VERSIONS = ("v1", "v1beta2", "v1beta1")
FRESH_SECONDS = 300.0
"""How long attributes are believed: an instance of MIG that is made anew has another UUID."""
RETRY_SECONDS = 30.0
"""Shortest time between two questions, whatever is not known."""

Attributes = Mapping[str, str]


class ResourceSlices:
    """The devices that drivers published for one node.

    Args:
        api: the API server.
        node: Kubernetes' name of this node.
        monotonic: a clock in seconds.
    """

    def __init__(
        self, api: KubeApi, node: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._node = node
        self._monotonic = monotonic
        self._known: Mapping[Dynamic, Attributes] = {}
        self._asked: float | None = None
        self._version = ""

    def find(self, held: Dynamic, *, again: bool = False) -> Attributes | None:
        """Return the attributes of a device that are text, None where it was not published.

        ``again`` says that what is known of it is of no use. Raises ``SourceError`` as the API.
        """
        known = self._known.get(held)
        now = self._monotonic()
        rest = RETRY_SECONDS if again or known is None else FRESH_SECONDS
        if self._asked is None or now - self._asked >= rest:
            self._asked = now
            self._known = self._list()
            known = self._known.get(held)
        return known

    def _list(self) -> Mapping[Dynamic, Attributes]:
        query = {"fieldSelector": f"spec.nodeName={self._node}", "resourceVersion": "0"}
        for version in (self._version,) if self._version else VERSIONS:
            path = f"/apis/resource.k8s.io/{version}/resourceslices"
            try:
                found = self._api.get(path, query)
            except SourceError as error:
                if error.reason != "vanished" or version == VERSIONS[-1]:
                    self._version = ""
                    raise
                continue
            self._version = version
            return dict(devices(found))
        self._version = ""
        return {}


def devices(answer: Json) -> Iterator[tuple[Dynamic, Attributes]]:
    """Yield the devices of a list of slices; of a pool only its latest generation counts."""
    specs = [spec for item in _objects(answer.get("items")) if (spec := _object(item.get("spec")))]
    newest: dict[tuple[str, str], int] = {}
    for spec in specs:
        place, generation = _pool(spec)
        newest[place] = max(generation, newest.get(place, generation))
    for spec in specs:
        place, generation = _pool(spec)
        if generation < newest[place]:
            continue
        for device in _objects(spec.get("devices")):
            name = str(device.get("name", ""))
            basic = _object(device.get("basic")) or device
            told = dict(_texts(_object(basic.get("attributes"))))
            yield Dynamic(*place, name), {"name": name, **told}


def _pool(spec: Json) -> tuple[tuple[str, str], int]:
    pool = _object(spec.get("pool"))
    generation = pool.get("generation")
    place = str(spec.get("driver", "")), str(pool.get("name", ""))
    return place, generation if isinstance(generation, int) else 0


def _texts(attributes: Json) -> Iterator[tuple[str, str]]:
    """Yield name without domain, and value, of the attributes that hold text."""
    for name, value in attributes.items():
        text = _object(value).get("string")
        if isinstance(text, str):
            yield name.rpartition("/")[2], text


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
