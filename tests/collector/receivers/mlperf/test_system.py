"""What a result was measured on: as its submission describes it, and not known where none does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wattshed_collector.receivers.mlperf import ResultError, read
from wattshed_collector.receivers.mlperf.system import hardware

TRAINING = "mlperf-training/smc-ac-power/results/1xSMC-H100-SXM-80GB/llama2_70b_lora"
CPU = {"host_processor_model_name": "Xeon", "host_processors_per_node": "2"}


def described(root: Path, name: str, **keys: object) -> None:
    (root / "systems").mkdir(exist_ok=True)
    (root / "systems" / f"{name}.json").write_text(json.dumps(keys))


def folder(root: Path, *parts: str) -> Path:
    made = root.joinpath(*parts)
    made.mkdir(parents=True)
    return made


def test_a_submission_describes_it_beside_its_results(tmp_path: Path) -> None:
    notes: list[str] = []
    described(tmp_path, "DGX_H100", accelerator_model_name=" NVIDIA  H100", accelerators_per_node=8)
    described(tmp_path, "gpt", accelerator_model_name="of nobody")
    run = folder(tmp_path, "results", "DGX_H100", "gpt", "Offline", "performance", "run_1")
    assert hardware(run, notes) == "8 x NVIDIA H100"
    flat = folder(tmp_path, "dgx_h100")
    assert hardware(flat, notes) == "8 x NVIDIA H100"
    assert notes == []


def test_several_nodes_count(tmp_path: Path) -> None:
    described(
        tmp_path,
        "two",
        accelerator_model_name="T",
        accelerators_per_node="4",
        number_of_nodes="2",
        **CPU,
    )
    described(tmp_path, "one", accelerator_model_name="Orin", accelerators_per_node=1)
    assert hardware(folder(tmp_path, "two_bert_server"), []) == "8 x T"
    assert hardware(folder(tmp_path, "one_bert_server"), []) == "Orin"


@pytest.mark.parametrize("none", ["", "N/A", None, 0])
def test_a_system_without_accelerators_is_its_processors(tmp_path: Path, none: object) -> None:
    described(tmp_path, "cpu", accelerator_model_name=none, accelerators_per_node="0", **CPU)
    assert hardware(folder(tmp_path, "cpu_bert_offline"), []) == "2 x Xeon"


def test_what_nobody_describes_is_not_known(tmp_path: Path) -> None:
    notes: list[str] = []
    described(tmp_path, "other", accelerator_model_name="B200")
    described(tmp_path, "empty", system_name="a nice one")
    assert hardware(folder(tmp_path, "h200_bert_offline"), notes) == ""
    assert hardware(folder(tmp_path, "empty_bert_offline"), notes) == ""
    assert "not known" in notes[0]
    assert "neither accelerators nor processors" in notes[1]


def test_a_description_that_is_none_is_named(tmp_path: Path) -> None:
    described(tmp_path, "a")
    (tmp_path / "systems" / "a.json").write_text("[1]")
    with pytest.raises(ResultError, match=r"a\.json, line 1: expected a JSON object"):
        hardware(folder(tmp_path, "a_bert_offline"), [])


def test_each_meter_of_a_published_training_is_of_its_system(mlperf_data: Path) -> None:
    devices = read(mlperf_data / TRAINING).batch.devices
    assert len(devices) == 10
    assert {device.model for device in devices} == {"8 x NVIDIA H100-SXM5-80GB"}
