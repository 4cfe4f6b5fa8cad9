"""Pages of the other exporters: recorded where there is a recording, stand-ins by name else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.fixtures.pages import AT, STEP, Reader, dcgm, jetson, kepler, line, rails

from wattshed_collector.normalise.dialect import Origin, host
from wattshed_exporter.model import Batch, Device, Kind, Method, Overlap, Tick

NGE = sorted(
    f"{machine}__{state}"
    for machine in (
        "linux-x86_64__nvidia-geforce-rtx-2080-super__595.71.05",
        "linux-x86_64__nvidia-geforce-rtx-2080-super__610.57.04",
        "linux-x86_64__nvidia-geforce-rtx-4080-super__595.71.05",
        "linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01",
        "linux-x86_64__nvidia-h100-mig__590.48.01",
        "linux-x86_64__nvidia-h200-mig__590.48.01",
        "linux-x86_64__nvidia-h200__590.48.01",
        "linux-x86_64__nvidia-l40s__595.80",
        "windows-x86_64__nvidia-geforce-rtx-2080-super__591.86",
        "windows-x86_64__nvidia-geforce-rtx-2080-super__610.62",
    )
    for state in ("idle", "load")
)
MACHINE = "GPU-00000000-0000-0000-0000-000000000000"


def devices(batch: Batch) -> dict[str, Device]:
    return {device.key: device for device in batch.devices}


def ticks(batch: Batch) -> dict[str, Tick]:
    return {tick.device: tick for tick in batch.ticks}


@pytest.mark.parametrize("name", NGE)
def test_nvidia_gpu_exporter_recorded(name: str, data: Path) -> None:
    page = (data / f"recordings/nvidia-gpu-exporter/metrics/{name}.metrics").read_text()
    said = {
        words[0].partition("{")[0]: float(words[-1])
        for words in map(str.split, page.splitlines())
        if words[0].startswith("nvidia_smi_") and "gpu_info" not in words[0]
    }
    reader = Reader()
    batch = reader.page(page)
    assert reader.rejected == {}
    (tick,), (device,) = batch.ticks, batch.devices
    assert (device.key, device.method) == (MACHINE, Method.INTEGRAL)
    assert re.split("[-_]", name.partition("nvidia-")[2])[0].upper() in device.model.upper()
    assert device.driver == name.split("__")[2]
    assert tick.power_watts == said["nvidia_smi_power_draw_watts"]
    assert tick.energy_uj is None
    assert tick.utilization_ratio == said.get("nvidia_smi_utilization_gpu_ratio")
    assert tick.memory_used_bytes == said["nvidia_smi_memory_used_bytes"]
    assert device.power_limit_watts == said["nvidia_smi_enforced_power_limit_watts"]


def test_nvidia_gpu_exporter_two_gpus_with_a_counter(data: Path) -> None:
    page = (data / "recordings/nvidia-gpu-exporter/metrics/demo__seeded.metrics").read_text()
    batch = Reader().page(page)
    assert len(batch.ticks) == 2
    assert all(tick.energy_uj is not None for tick in batch.ticks)
    assert {device.method for device in batch.devices} == {Method.COUNTER}


def test_amd_recorded_powers_are_not_added(data: Path) -> None:
    folder = data / "recordings/amd-device-metrics-exporter/metricutil"
    reader = Reader()
    batch = reader.page((folder / "metrics_mini.txt").read_text())
    assert reader.rejected == {}
    (tick,), (device,) = batch.ticks, batch.devices
    assert (tick.power_watts, tick.utilization_ratio, tick.energy_uj) == (41.0, 0.0, None)
    assert (device.key, device.serial, device.vendor) == (
        "amd/692247001282",
        "692247001282",
        "AMD",
    )


def amd(name: str, value: float, partition: str, **more: str) -> str:
    told = {"gpu_id": "0", "serial_number": "S1", "gpu_partition_id": partition, "hostname": "n2"}
    return line(name, value, **told, **more)


def test_amd_partitions_are_one_board_with_equal_parts() -> None:
    page = amd("gpu_package_power", 500, "0", pod="a", namespace="ml")
    page += amd("gpu_energy_consumed", 7e9, "0", pod="a", namespace="ml")
    page += amd("gpu_package_power", 0, "1", pod="b", namespace="ml")
    reader = Reader()
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    (tick,) = batch.ticks
    assert (tick.power_watts, tick.energy_uj) == (500.0, 7_000_000_000)
    assert {(a.workload, a.share) for a in batch.allocations} == {
        ("k8s//ml/a", 0.5),
        ("k8s//ml/b", 0.5),
    }
    assert batch.devices[0].node == "n2"


def test_amd_jobs_name_their_user_queue_and_cluster() -> None:
    told = {"job_id": "9", "job_user": "eve", "job_partition": "long", "cluster_name": "blue"}
    page = amd("gpu_package_power", 500, "0", **told)
    reader = Reader()
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    (workload,) = batch.workloads
    assert (workload.owner, workload.queue, workload.cluster) == ("eve", "long", "blue")
    assert workload.key == "slurm/n2/9", "named by its machine, as by the node itself"
    assert batch.allocations[0].share == 1.0


def test_kepler_stand_in_zones_overlap_as_they_do_in_hardware() -> None:
    batch = Reader().page(kepler(1000, 400, {}))
    assert {d.scope: (d.kind, d.overlap) for d in batch.devices} == {
        "package": (Kind.CPU, Overlap.NONE),
        "dram": (Kind.MEMORY, Overlap.NONE),
        "core": (Kind.CPU, Overlap.INNER),
        "psys": (Kind.HOST, Overlap.OUTER),
    }
    assert ticks(batch)["n1/kepler/package"].energy_uj == 1_000_000_000
    assert ticks(batch)["n1/kepler/package"].utilization_ratio == 0.5
    assert ticks(batch)["n1/kepler/dram"].utilization_ratio is None


def test_kepler_stand_in_pods_are_weights_and_levels_are_not_added() -> None:
    reader = Reader()
    reader.page(kepler(1000, 400, {"a": 100, "b": 50}))
    batch = reader.page(kepler(1300, 500, {"a": 150, "b": 60, "new": 15}), AT + STEP)
    found = {a.workload: (a.device, a.share, a.activity) for a in batch.allocations}
    assert found == {
        "k8s//ml/a": ("n1/kepler/package", 0.0, 0.5),
        "k8s//ml/b": ("n1/kepler/package", 0.0, 0.1),
        "k8s//ml/new": ("n1/kepler/package", 0.0, 0.15),
        "host//n1": ("n1/kepler/package", 0.0, pytest.approx(0.25)),
    }


def test_kepler_stand_in_a_pod_that_comes_back_is_not_charged_its_past() -> None:
    reader = Reader()
    reader.page(kepler(1000, 400, {"a": 100}))
    batch = reader.page(kepler(1300, 500, {"a": 160, "back": 99_999}), AT + STEP)
    found = {a.workload: a.activity for a in batch.allocations}
    assert found == {"k8s//ml/a": 0.6, "k8s//ml/back": pytest.approx(0.4)}


def test_kepler_stand_in_counters_that_restart_say_nothing_of_who_worked() -> None:
    reader = Reader()
    reader.page(kepler(1000, 400, {"a": 100}))
    assert reader.page(kepler(10, 4, {"a": 1}), AT + STEP).allocations == ()


def test_kepler_stand_in_gpus_are_the_gpus_that_others_measure() -> None:
    text = line("kepler_node_gpu_joules_total", 5, gpu="0", gpu_uuid="GPU-a", vendor="nvidia")
    text += line("kepler_node_gpu_watts", 7, gpu="0", gpu_uuid="GPU-a", vendor="nvidia")
    assert ticks(Reader().page(text))["GPU-a"].energy_uj == 5_000_000
    reader = Reader()
    reader.page(dcgm("GPU-a"), AT)
    assert ticks(reader.page(text, AT + 1)) == {}
    assert reader.rejected == {"measured_already": 2}


def test_node_exporter_recorded(data: Path) -> None:
    page = (data / "recordings/node-exporter/e2e/e2e-output.txt").read_text()
    reader = Reader()
    batch = reader.page(page)
    found = devices(batch)
    assert {d.name: (d.kind, d.overlap, d.method) for d in found.values()} == {
        "package-0": (Kind.CPU, Overlap.NONE, Method.COUNTER),
        "package-0/core": (Kind.CPU, Overlap.INNER, Method.COUNTER),
        "BAT0": (Kind.BATTERY, Overlap.OUTER, Method.INTEGRAL),
    }
    said = {found[key].name: (t.energy_uj, t.power_watts) for key, t in ticks(batch).items()}
    assert said == {
        "package-0": (240_422_366_267, None),
        "package-0/core": (118_821_284_256, None),
        "BAT0": (None, 5.002),
    }
    assert reader.ignored > 2000, "what says nothing of energy is no error"
    assert all(count < 20 for count in reader.rejected.values()), reader.rejected


def test_node_exporter_counts_the_mmio_interface_once() -> None:
    text = line("node_rapl_package_joules_total", 6, index="0", path="/p/intel-rapl-mmio:0")
    text += line("node_rapl_package_joules_total", 5, index="0", path="/p/intel-rapl:0")
    text += line("node_rapl_dram_joules_total", 2, index="0", path="/p/intel-rapl:0:1")
    text += line("node_rapl_psys_joules_total", 9, index="0", path="/p/intel-rapl:1")
    batch = Reader().page(text)
    found = devices(batch)
    assert {found[k].name: (t.energy_uj, found[k].overlap) for k, t in ticks(batch).items()} == {
        "package-0": (5_000_000, Overlap.NONE),
        "package-0/dram": (2_000_000, Overlap.NONE),
        "psys-1": (9_000_000, Overlap.OUTER),
    }


def test_node_exporter_takes_only_a_meter_of_the_whole_machine() -> None:
    text = line("node_hwmon_chip_names", 1, chip="acpi", chip_name="power_meter")
    text += line("node_hwmon_chip_names", 1, chip="pci", chip_name="amdgpu")
    text += line("node_hwmon_power_average_watt", 310, chip="acpi", sensor="power1")
    text += line("node_hwmon_power_average_watt", 90, chip="pci", sensor="power1")
    batch = Reader().page(text)
    (tick,), (device,) = batch.ticks, batch.devices
    assert (tick.power_watts, device.kind, device.overlap) == (310.0, Kind.HOST, Overlap.OUTER)


def test_a_battery_that_is_charged_is_no_consumption() -> None:
    text = line("node_power_supply_info", 1, power_supply="BAT0", status="Charging")
    assert Reader().page(text + line("node_power_supply_power_watt", 20, power_supply="BAT0")) == (
        Batch()
    )


def test_of_two_that_read_rapl_one_is_believed_while_it_speaks() -> None:
    reader = Reader()
    node = line("node_rapl_package_joules_total", 5, index="0", path="/p/intel-rapl:0")
    reader.page(kepler(1000, 400, {}))
    assert ticks(reader.page(node, AT + 1)) == {}
    assert len(ticks(reader.page(node, AT + 10 * STEP))) == 1


def test_what_our_own_exporter_measures_is_not_taken_twice() -> None:
    reader = Reader()
    gpu = Device("GPU-a", Kind.GPU, "n1", "nvml")
    package = Device("n1/rapl/package-0", Kind.CPU, "n1", "rapl")
    tick = Tick("GPU-a", AT, 1000, Method.COUNTER, 5.0)
    reader.foreign.saw(Batch(devices=(gpu, package), ticks=(tick,)))
    pod = {"pod": "p", "namespace": "ml"}
    page = dcgm("GPU-a", **pod) + dcgm("GPU-b", **pod)
    page += line("node_rapl_package_joules_total", 5, index="0", path="/p/intel-rapl:0")
    assert ticks(reader.page(page, AT + STEP)).keys() == {"GPU-b"}
    held = reader.page(page, AT + 2 * STEP).allocations
    assert [allocation.device for allocation in held] == ["GPU-b"]
    assert ticks(reader.page(page, AT + 20 * STEP)).keys() == {
        "GPU-a",
        "GPU-b",
        "n1/node_exporter/rapl/package-0",
    }


@pytest.mark.parametrize(
    ("board", "total"),
    [
        ("agx-orin", 4940 + 988 + 4442),
        ("agx-xavier", 311 + 932 + 621 + 1482),
        ("jetson-nano", 1022),
        ("jetson-tx1", 2532),
        ("jetson-tx2", 3056),
        ("orin-nx_mW-suffix", 5299),
        ("xavier-nx", 4067),
    ],
)
def test_jetson_stand_in_recorded_rails_add_up_once(board: str, total: int, data: Path) -> None:
    powers = rails(data / f"recordings/tegrastats/datadog-agent/{board}.txt")
    reader = Reader()
    batch = reader.page(jetson(powers))
    found = devices(batch)
    outer = [t.power_watts for k, t in ticks(batch).items() if not found[k].overlap]
    assert sum(power or 0.0 for power in outer) == pytest.approx(total / 1000)
    assert len(batch.ticks) == len(powers)
    assert reader.rejected == {}


def test_all_smi_recorded_has_no_meter_and_no_error(data: Path) -> None:
    page = (data / "recordings/all-smi/container_no_gpu/metrics").read_text()
    reader = Reader()
    assert reader.page(page) == Batch()
    assert reader.rejected == {}
    assert reader.ignored > 10


def test_all_smi_gpus() -> None:
    told = {"gpu": "H200", "gpu_uuid": "GPU-s", "gpu_index": "1", "hostname": "n7"}
    text = line("all_smi_gpu_power_consumption_watts", 400.5, **told)
    text += line("all_smi_gpu_utilization", 42, **told)
    text += line("all_smi_energy_consumed_joules_total", 9, host="n7", gpu_uuid="GPU-s")
    text += line("all_smi_energy_consumed_joules_total", 90, host="n7", scope="chassis")
    (tick,) = Reader().page(text).ticks
    assert (tick.device, tick.power_watts, tick.energy_uj) == ("GPU-s", 400.5, 9_000_000)
    assert tick.utilization_ratio == 0.42


def test_several_dialects_on_one_page_and_what_none_of_them_says() -> None:
    page = dcgm() + kepler(10, 4, {}) + "node_load1 3\nuptime_of_mine 5\n"
    reader = Reader()
    assert {device.source for device in reader.page(page).devices} == {"dcgm_exporter", "kepler"}
    assert reader.rejected == {"unknown_metric": 1}


def test_a_prometheus_sends_everything_and_the_rest_is_no_error() -> None:
    reader = Reader(Origin(interval_ms=STEP, whole=False))
    reader.page("my_own_metric 5\nhttp_requests_total 3\n")
    assert (reader.rejected, reader.ignored) == ({}, 2)


@pytest.mark.parametrize(
    ("labels", "origin", "node"),
    [
        ({"Hostname": "n1", "instance": "10.0.0.7:9400"}, Origin(), "n1"),
        ({"Hostname": "n1", "node": "worker-3"}, Origin(), "worker-3"),
        ({"Hostname": "424773df46e0", "instance": "gpu7:9400"}, Origin(), "gpu7"),
        ({"Hostname": "n1"}, Origin("x:1", "named"), "named"),
        ({"Hostname": ""}, Origin("10.1.2.3:9400"), "10.1.2.3"),
    ],
)
def test_the_machine(labels: dict[str, str], origin: Origin, node: str) -> None:
    text = line("DCGM_FI_DEV_POWER_USAGE", 5, UUID="GPU-a", **labels)
    (device,) = Reader(origin).page(text).devices
    assert device.node == node


@pytest.mark.parametrize(
    ("instance", "name"),
    [("a:9100", "a"), ("a", "a"), ("[::1]:9100", "::1"), ("fe80::1", "fe80::1"), ("", "")],
)
def test_the_host_of_an_instance(instance: str, name: str) -> None:
    assert host(instance) == name
