"""What makes the layers of an image: the same bytes whenever it runs, and nothing left out."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS_UNCHECKED_HASH = 1
"""PEP 552: the second word of a compiled module that is not held against its source."""


def prefix(folder: Path, *, made_at: int) -> Path:
    """Return a layer in which an environment was installed at a time."""
    packages = folder / "opt/wattshed/lib/python3.13/site-packages"
    for name, text in {
        "thing/__init__.py": "NAMES = frozenset({'a', 'b', 'c'})\n",
        "thing/typed.pyi": "NAMES: frozenset[str]\n",
        "thing/tests/test_it.py": "assert False\n",
        "thing/testing/__init__.py": "",
        "pip/__init__.py": "",
        "pip-26.3.dist-info/METADATA": "Name: pip\n",
        "../../../bin/pip3": "#!/opt/wattshed/bin/python\n",
        "../../../bin/thing": "#!/opt/wattshed/bin/python\n",
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    (folder / "opt/wattshed/bin/python").symlink_to("/usr/bin/python3")
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (made_at, made_at), follow_symlinks=False)
    return folder


def make(layer: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, str(ROOT / "scripts/image_layer.py"), str(layer)]
    subprocess.run(command, check=True, env={**clean, "PYTHONHASHSEED": "0"})


def digest(layer: Path, tar: Path) -> str:
    with tarfile.open(tar, "w") as made:
        for path in sorted(layer.rglob("*")):
            made.add(path, str(path.relative_to(layer)), recursive=False)
    return hashlib.sha256(tar.read_bytes()).hexdigest()


def test_the_same_installation_is_the_same_bytes_a_day_later(tmp_path: Path) -> None:
    layers = [prefix(tmp_path / str(day), made_at=day * 86400) for day in (20_000, 20_001)]
    for layer in layers:
        make(layer)
    first, second = (digest(layer, tmp_path / "layer.tar") for layer in layers)
    assert first == second


def test_what_only_installing_and_testing_need_is_left_out(tmp_path: Path) -> None:
    layer = prefix(tmp_path, made_at=1_700_000_000)
    make(layer)
    names = {str(p.relative_to(layer / "opt/wattshed")) for p in layer.rglob("*") if p.is_file()}
    packages = "lib/python3.13/site-packages"
    tag = sys.implementation.cache_tag
    assert names - {"bin/python"} == {
        "bin/thing",
        f"{packages}/thing/__init__.py",
        f"{packages}/thing/__pycache__/__init__.{tag}.pyc",
        f"{packages}/thing/testing/__init__.py",
        f"{packages}/thing/testing/__pycache__/__init__.{tag}.pyc",
    }
    compiled = (
        layer / f"opt/wattshed/{packages}/thing/__pycache__/__init__.{tag}.pyc"
    ).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == FLAGS_UNCHECKED_HASH
    assert str(layer).encode() not in compiled


def required(*extras: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/requirements.py", *extras]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_requirements_are_those_of_the_extras() -> None:
    assert required().stdout.split() == ["prometheus-client>=0.20", "PyYAML>=6.0"]
    assert any(line.startswith("chdb") for line in required("collector").stdout.splitlines())
    unknown = required("collector", "nvdia")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no extra nvdia" in unknown.stderr


def test_debians_packages_have_the_names_that_scanners_look_up() -> None:
    path = ROOT / "scripts/sbom.py"
    spec = importlib.util.spec_from_file_location("sbom", path)
    assert spec is not None
    assert spec.loader is not None
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    lines = "installed\tzlib1g\t1:1.3.dfsg+really1.3.1-1\tamd64\nconfig-files\tgone\t1\tamd64\n"
    (component,) = sbom.debian(lines)
    purl = "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1?arch=amd64"
    assert component == {
        "type": "library", "bom-ref": purl, "purl": purl,
        "name": "zlib1g", "version": "1:1.3.dfsg+really1.3.1-1",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["exporter", "collector"])
def test_a_dockerfile_needs_nothing_but_its_base(name: str) -> None:
    lines = (ROOT / name / "Dockerfile").read_text().splitlines()
    assert not any(line.startswith("# syntax=") for line in lines)
    (base,) = [line for line in lines if line.startswith("ARG PYTHON_IMAGE=")]
    assert base == "ARG PYTHON_IMAGE=python:3.13-slim-trixie"
    stages = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert set(stages) == {"${PYTHON_IMAGE}", "dependencies", "scratch"}
    assert "USER 10001:10001" in lines
