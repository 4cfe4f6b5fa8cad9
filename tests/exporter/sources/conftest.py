"""Fixtures that the tests of several sources share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fixtures import redfish
from tests.fixtures.amdgpu import Tree
from tests.fixtures.dcgm import Exporter
from tests.fixtures.web import Web, serving

from wattshed_exporter.sources.redfish import Redfish


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may read, other than ``tmp_path``."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A sysfs for cards of amdgpu."""
    return Tree(tmp_path)


@pytest.fixture
def web() -> Iterator[Web]:
    """A server that holds nothing yet."""
    with serving(Web()) as server:
        yield server


@pytest.fixture
def webs() -> Iterator[list[Web]]:
    """Three servers that hold nothing yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(Web())) for _ in range(3)]


@pytest.fixture
def make() -> Iterator[Callable[..., Redfish]]:
    """Build Redfish sources that are closed at the end."""
    with ExitStack() as stack:

        def build(url: str, **options: object) -> Redfish:
            source = redfish.build(url, **options)
            stack.callback(source.close)
            return source

        yield build


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """A server in the place of dcgm-exporter."""
    server = Exporter()
    with serving(server):
        yield server
