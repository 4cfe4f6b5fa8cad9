"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import hypothesis
import pytest

# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("wattshed", deadline=None)
hypothesis.settings.load_profile("wattshed")

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stand-in for NVML: a folder for LD_LIBRARY_PATH; ``old`` in it has fewer symbols.

    What it answers is told by the file named in FAKE_NVML_SCENARIO; see fake_nvml.c.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the stand-in for libnvidia-ml.so.1")
    folder = tmp_path_factory.mktemp("nvml")
    for target, flags in ((folder, []), (folder / "old", ["-DOLD_DRIVER"])):
        target.mkdir(exist_ok=True)
        command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags]
        command += ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(target / "libnvidia-ml.so.1")]
        subprocess.run([*command, str(HERE / "fixtures/nvml/fake_nvml.c")], check=True)
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of published measurements and recordings, or skip where it is absent."""
    folder = Path(os.environ.get("WATTSHED_DATA") or HERE.parent.parent / "shared/data")
    if not folder.is_dir():
        pytest.skip(f"the published data are not here: {folder} (WATTSHED_DATA names their folder)")
    return folder
