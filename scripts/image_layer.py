"""Make a folder into a layer of an image that is the same bytes whenever it is made.

    image_layer.py LAYER [PREFIX]    PREFIX: where in the image what is installed lies

Leaves out what only installing and developing need, compiles each module once, without the time of
its source, and gives every file the time SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

EPOCH_S = 315532800
"""1980, the oldest time that a zip can hold; where SOURCE_DATE_EPOCH says no other."""
INSTALLERS = ("pip", "pip-*.dist-info", "setuptools", "setuptools-*.dist-info")
UNUSED = ("tests", "include", "__pycache__")


def make(layer: Path, prefix: str, epoch_s: int) -> None:
    """Strip, compile and date what lies in ``layer``, to be copied to the root of an image."""
    for packages in layer.glob(f"{prefix.lstrip('/')}/lib/python*/site-packages"):
        strip(packages)
        compile_all(packages, str(layer))
    date(layer, epoch_s)


def strip(packages: Path) -> None:
    """Remove pip, tests, headers, stubs and modules compiled elsewhere from a site-packages."""
    for pattern in INSTALLERS:
        for found in packages.glob(pattern):
            shutil.rmtree(found)
    for name in UNUSED:
        for found in sorted(packages.rglob(name)):
            if found.is_dir():
                shutil.rmtree(found)
    for stub in packages.rglob("*.pyi"):
        stub.unlink()
    for command in (packages.parents[2] / "bin").glob("pip*"):
        command.unlink()


def compile_all(packages: Path, layer: str) -> None:
    """Compile every module; it is not looked at again, so the time of its source is not in it."""
    mode = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages, quiet=2, invalidation_mode=mode, stripdir=layer, workers=1)


def date(layer: Path, epoch_s: int) -> None:
    """Give every file, link and folder the same time."""
    for folder, folders, files in os.walk(layer, topdown=False):
        for name in (*files, *folders):
            os.utime(Path(folder) / name, (epoch_s, epoch_s), follow_symlinks=False)
    os.utime(layer, (epoch_s, epoch_s))


if __name__ == "__main__":
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH_S)
    make(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/opt/wattshed", epoch)
