"""What units of systemd are called, and what their files say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.cgroups import device, hierarchies, made, write

from wattshed_exporter.allocations import Claim, Meters
from wattshed_exporter.allocations.systemd import Systemd, called, unescape
from wattshed_exporter.allocations.unit_files import UnitFile, read_unit
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Kind

QEMU = "machine-qemu\\x2d1\\x2dubuntu.scope"
USER = "user.slice/user-1000.slice"
GPU = Device("GPU-a", Kind.GPU, "n", "s", name="gpu1", vendor="NVIDIA")
METERS = Meters(0, {"GPU-a": GPU, "cpu": device("cpu")})


def plugin(cgroupfs: Path, root: Path) -> Systemd:
    nowhere = root / "nowhere"
    roots = Roots(procfs=nowhere, sysfs=nowhere, cgroupfs=cgroupfs)
    return Systemd(Config(node="n", roots=roots), root)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A written tree of version 2 with a service, a session, a user's service and a machine."""
    root = tmp_path / "cgroup"
    for path in (
        "system.slice/train@3.service",
        f"{USER}/session-7.scope",
        f"{USER}/user@1000.service/app.slice/notebook.service",
        f"machine.slice/{QEMU}/libvirt/vcpu0",
        f"system.slice/docker-{'c' * 64}.scope",
    ):
        write(root / path, {})
    return root


def unit(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_units_sessions_and_machines_have_names_that_people_use(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "etc", {"passwd": "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:/bin/sh"})
    told = plugin(tree, tmp_path).read(METERS)
    user = {"kind": "unit", "owner": "ada"}
    assert told.about == {
        "unit:train@3.service": {
            "name": "train@3",
            "kind": "unit",
            "instance": "train@3.service",
        },
        "unit:session-7.scope": {
            "name": "ada",
            "kind": "session",
            "instance": "session-7.scope",
            "owner": "ada",
        },
        "unit:user@1000.service": {"name": "user@1000", "instance": "user@1000.service", **user},
        "unit:user@1000.service/notebook.service": {
            "name": "notebook",
            "instance": "notebook.service",
            **user,
        },
        f"unit:{QEMU}": {
            "name": "ubuntu",
            "kind": "vm",
            "instance": "machine-qemu-1-ubuntu.scope",
        },
    }
    assert (told.claims, told.rejected) == ([], {})


def test_a_section_of_the_unit_sets_fields_and_an_allowed_device_is_held(
    tree: Path, tmp_path: Path
) -> None:
    unit(
        tmp_path,
        "usr/lib/systemd/system/train@.service",
        "[Service]\nExecStart=/bin/x \\\n  team=no\nDeviceAllow=/dev/nvidia1 rw\n"
        "DeviceAllow=char-nvidia-uvm rw\n# team=no\n[X-Wattshed]\nteam=vision\nkind=training\n",
    )
    unit(
        tmp_path,
        "etc/systemd/system/train@3.service.d/wattshed.conf",
        '[X-Wattshed]\nteam = "speech"\nmodel=whisper\ncolour=red\nteem\n',
    )
    told = plugin(tree, tmp_path).read(METERS)
    assert told.about["unit:train@3.service"] == {
        "name": "train@3",
        "instance": "train@3.service",
        "kind": "training",
        "team": "speech",
        "model": "whisper",
    }
    assert told.claims == [Claim("GPU-a", "unit:train@3.service", 1.0, None, "systemd")]
    assert told.rejected == {"unknown_field": 2}
    assert plugin(tree, tmp_path).read(Meters(0)).rejected["unknown_device"] == 1


def test_files_are_read_again_after_a_while_and_units_come_and_go(
    tree: Path, tmp_path: Path
) -> None:
    systemd = plugin(tree, tmp_path)
    assert "team" not in systemd.read(METERS).about["unit:train@3.service"]
    unit(tmp_path, "run/systemd/system/train@.service.d/x.conf", "[X-Wattshed]\nteam=vision\n")
    write(tree / "system.slice/train@4.service", {})
    about = systemd.read(METERS).about
    assert "team" not in about["unit:train@3.service"]
    assert about["unit:train@4.service"]["team"] == "vision"
    for _ in range(29):
        about = systemd.read(METERS).about
    assert about["unit:train@3.service"]["team"] == "vision"
    (tree / "system.slice/train@4.service").rmdir()
    assert "unit:train@4.service" not in systemd.read(METERS).about


def test_the_strongest_file_counts_and_drop_ins_of_one_name_replace_one_another(
    tmp_path: Path,
) -> None:
    unit(tmp_path, "usr/lib/systemd/system/a.service", "[Service]\nDeviceAllow=/dev/nvidia0\n")
    unit(tmp_path, "etc/systemd/system/a.service", "[Service]\nDeviceAllow=/dev/nvidia1\n")
    assert read_unit(tmp_path, "a.service").devices == ["/dev/nvidia1"]
    unit(tmp_path, "usr/lib/systemd/system/a.service.d/1.conf", "[X-Wattshed]\nteam=old\n")
    unit(tmp_path, "etc/systemd/system/a.service.d/1.conf", "[Service]\nDeviceAllow=\n")
    assert read_unit(tmp_path, "a.service") == UnitFile()
    unit(tmp_path, "etc/systemd/user/a.service", "[X-Wattshed]\nteam=mine\n")
    assert read_unit(tmp_path, "a.service", user=True).fields == {"team": "mine"}


def test_real_cgroups_are_found_where_systemd_keeps_them(tmp_path: Path) -> None:
    root, top = hierarchies(2)
    with made(top, f"system.slice/{QEMU}", "system.slice/wattshed-test.service"):
        about = plugin(root.parent if top.name == "unified" else root, tmp_path).read(METERS).about
    assert about["unit:wattshed-test.service"]["name"] == "wattshed-test"
    assert about[f"unit:{QEMU}"]["name"] == "ubuntu"


def test_without_units_there_is_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    systemd = plugin(tmp_path, tmp_path)
    with pytest.raises(NoData, match="units"):
        systemd.read(METERS)
    with pytest.raises(SourceError, match="gone"):
        plugin(tmp_path / "nowhere", tmp_path).read(METERS)


@pytest.mark.parametrize(
    ("unit_name", "name", "kind"),
    [
        ("ssh.service", "ssh", "unit"),
        ("machine-qemu\\x2d12\\x2dweb\\x2d1.scope", "web-1", "vm"),
        ("machine-web.scope", "web", "machine"),
        ("systemd-nspawn@build.service", "build", "machine"),
        ("dev-hugepages.mount", "dev-hugepages.mount", "unit"),
        ("caf\\xc3\\xa9.service", "café", "unit"),
        ("bad\\xff.service", "bad\ufffd", "unit"),
    ],
)
def test_names(unit_name: str, name: str, kind: str) -> None:
    told = called(unit_name)
    assert (told["name"], told["kind"]) == (name, kind)


@given(st.text(max_size=40))
def test_every_name_can_be_shown(name: str) -> None:
    assert unescape(name).isprintable()
    assert called(name)["name"].isprintable()


@given(st.binary(max_size=200))
def test_no_file_of_a_unit_ends_the_plug_in(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    root = tmp_path_factory.mktemp("etc")
    (root / "etc/systemd/system").mkdir(parents=True)
    (root / "etc/systemd/system/a.service").write_bytes(b"[X-Wattshed]\nteam=x\n" + text)
    said = read_unit(root, "a.service")
    assert "team" in said.fields
    assert all(value.isprintable() for value in said.fields.values())
