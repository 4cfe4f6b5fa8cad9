"""Fixtures that several test folders share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from tests.fixtures import turns
from tests.fixtures.published import DATA
from tests.fixtures.stores import Stores, in_memory

# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("wattshed", deadline=None)
hypothesis.settings.load_profile("wattshed")

# jsonschema would build 38 grammars for IRIs, three seconds in each worker; no schema here has one.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

HERE = Path(__file__).parent
SHARING = pytest.StashKey[set[Path]]()
"""The files whose tests take a store that is kept open for them."""


def pytest_configure() -> None:
    """Let Ctrl-C through to the programs under test; a shell's background job ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes stays to the end: looking for garbage in it is a third of its time."""
    gc.disable()
    try:
        with turns.compiled_once(HERE):
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin what waits or takes long early."""
    items[:] = turns.order(items)
    used = turns.fixtures(items)
    config.stash[SHARING] = {file for file, names in used.items() if "shared_bed" in names}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> turns.Files | None:
    """Deal out files, where that was asked for."""
    return turns.Files(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stand-in for NVML: a folder for LD_LIBRARY_PATH; in it two with fewer symbols.

    What it answers is told by the file named in FAKE_NVML_SCENARIO; see fake_nvml.c.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the stand-in for libnvidia-ml.so.1")
    folder = tmp_path_factory.mktemp("nvml")
    for name, flags in (("", []), ("old", ["-DOLD_DRIVER"]), ("r525", ["-DR525_DRIVER"])):
        target = folder / name
        target.mkdir(exist_ok=True)
        command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags]
        command += ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(target / "libnvidia-ml.so.1")]
        subprocess.run(
            [*command, *map(str, sorted((HERE / "fixtures/nvml").glob("*.c")))], check=True
        )
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of published measurements and recordings, or skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the published data are not here: {DATA} (WATTSHED_DATA names their folder)")
    return DATA


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Give migrated stores to copy; the workers of one run share them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with in_memory() as memory:
        yield Stores(shared / "stores", memory)


@pytest.fixture(scope="module", autouse=True)
def _one_engine(request: pytest.FixtureRequest, stores: Stores) -> None:
    """Close the store that is kept open, but for those who take it."""
    if request.path not in request.config.stash[SHARING]:
        stores.let_go()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates as an operator would: a folder with ``{name}.pem`` and ``{name}.key``.

    ``ca`` is the authority, ``server`` is for localhost, ``renewed`` as well; ``client`` may ask,
    and ``stranger`` is signed by the same authority under another name.
    """
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    local = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    for name, *more in (
        ("ca",),
        ("server", "-addext", local),
        ("renewed", "-addext", local),
        ("client", "-addext", "subjectAltName=DNS:scraper.example,IP:10.0.0.7"),
        ("stranger", "-addext", "subjectAltName=DNS:stranger.example"),
    ):
        signed = [] if name == "ca" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", *more, *signed]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that opens an address in Chromium and answers with the page it became."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian package chromium)")

    def dump(address: str) -> str:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        command += ["--disable-component-update", "--window-size=1400,2400"]
        command += [f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]
        command += ["--virtual-time-budget=9000", "--dump-dom", address]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True
        ).stdout.decode()

    return dump
