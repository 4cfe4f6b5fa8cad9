"""Print what an image is made of, as CycloneDX 1.6: Python's packages, the interpreter, Debian's.

    sbom.py NAME PYTHON    NAME: exporter or collector; PYTHON: that of the environment described

Runs in the image, beside the package cyclonedx-bom. The same image gives the same document.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
DEBIAN_FORMAT = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n"


def document(name: str, python: str) -> dict[str, Any]:
    """Return the document for the environment of one interpreter and the system around it."""
    command = [str(Path(sys.executable).parent / "cyclonedx-py"), "environment", python]
    command += ["--of=JSON", "--sv=1.6", "--output-reproducible"]
    found: dict[str, Any] = json.loads(_said(*command))
    version = next(c["version"] for c in found["components"] if c["name"] == "wattshed")
    root = {"type": "container", "bom-ref": name, "name": f"wattshed/{name}", "version": version}
    found["metadata"]["component"] = root
    found["components"] += [interpreter(python), *debian(installed())]
    return found


def interpreter(python: str) -> Component:
    """Return the component that runs all else."""
    code = "import platform; print(platform.python_version())"
    return _component("platform", "cpython", _said(python, "-c", code).strip(), "generic")


def installed() -> str:
    """Return what dpkg has installed: a line of state, name, version and architecture each."""
    return _said("dpkg-query", "-W", "-f", DEBIAN_FORMAT)


def debian(lines: str) -> list[Component]:
    """Return a component for each package of the system that is installed, in order of names."""
    rows = sorted(line.split("\t") for line in lines.splitlines())
    return [
        _component("library", package, version, "deb/debian", f"?arch={architecture}")
        for state, package, version, architecture in rows
        if state == "installed"
    ]


def _component(kind: str, name: str, version: str, where: str, qualifiers: str = "") -> Component:
    purl = f"pkg:{where}/{quote(name, safe='')}@{quote(version, safe='~')}{qualifiers}"
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    json.dump(document(*sys.argv[1:]), sys.stdout, indent=2, sort_keys=True)
