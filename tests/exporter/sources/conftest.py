"""Fixtures that the tests of several sources share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.amdgpu import Tree


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
