"""Every program of every system lowers for GPU and TPU on a machine that has neither."""

import re

import jax
import numpy as np
import pytest
from jax import export, lax

import btjax
from btjax.saliency.methods import METHODS
from btjax.systems.system import find_system, system_names
from experiments.bench import memory
from experiments.bench.programs import programs

PRESETS = {
    "cnn": "cnn_demo",
    "efficientnet": "efficientnet_b0_cpu",
    "encoder_classifier": "encoder_classifier_cpu",
    "hdl2bt": "hdl2bt_cpu",
    "inception": "inception_cpu",
    "joint": "joint_cpu",
    "joint_efficientnet": "joint_efficientnet_b0",
    "joint_resnet50": "joint_resnet50",
    "joint_vgg16": "joint_vgg16",
    "linear": "linear_cpu",
    "pathways": "pathways_cpu",
    "resnet50": "resnet50_cpu",
    "segmenter": "segmenter_cpu",
    "unet": "unet_cpu",
    "vgg16": "vgg16_paper",
}
MORE = {"cnn": tuple(METHODS), "joint": ("gradient", "lrp_composite"), "resnet50": ("gradient", "lrp_composite")}
"""The saliency methods that are lowered; of other systems the gradient alone, for the sake of time."""
MARK = 11 / 16
"""Multiplies whatever is computed by a lowering for CPU alone; exact in bfloat16 too, so it is printed in one way."""


@pytest.fixture
def marked(monkeypatch):
    """Marks the lowerings for CPU alone; gives the list of the calls."""
    calls, choose = [], lax.platform_dependent

    def choose_marked(*arguments, cpu, default):
        calls.append(1)
        return choose(*arguments, cpu=lambda *given: cpu(*given) * np.asarray(MARK, given[0].dtype), default=default)

    monkeypatch.setattr(lax, "platform_dependent", choose_marked)
    return calls


def text_of(program, *platforms) -> str:
    return export.export(program.function, platforms=platforms)(*program.arguments).mlir_module()


def test_every_system_with_a_network_is_lowered_here():
    assert PRESETS.keys() == {name for name in system_names() if not find_system(name).fitted} - {"mine", "toy"}
    assert all(btjax.preset(preset).system == name for name, preset in PRESETS.items())


@pytest.mark.parametrize("system", PRESETS)
def test_training_prediction_and_saliency_lower_for_gpu_and_tpu_to_native_convolutions(
    system, marked, standard_promotion
):
    config, names = btjax.preset(PRESETS[system]), set()
    for program in programs(config, MORE.get(system, ("gradient",))):
        names.add(program.name)
        if program.name == "train several" and system != "cnn":
            continue  # the same step in a loop over runs
        text = text_of(program, "cuda", "tpu")
        above = "features" in names and program.name in ("train", "train several", "evaluate")
        assert ("stablehlo.convolution" in text) == (bool(marked) and not above), program.name
        assert f"{MARK:.6e}" not in text, f"{program.name}: holds a lowering that is for CPU alone"
        called = set(re.findall(r"custom_call @(\w+)", text))
        assert not [name for name in called if "callback" in name], f"{program.name}: calls the host"
    assert bool(marked) == (system != "linear") and {"train", "evaluate", "predict"} <= names
    explained = {name.removeprefix("explain by ") for name in names if name.startswith("explain")}
    if system == "cnn":
        assert explained == METHODS.keys() - {"outline"}
    elif config.task().name == "classification":
        assert "gradient" in explained


def test_a_lowering_for_cpu_alone_is_recognised_where_it_is(marked, standard_promotion):
    program = next(iter(programs(btjax.preset("cnn_demo"), ())))
    assert program.name == "predict" and f"{MARK:.6e}" in text_of(program, "cpu")


def test_the_memory_of_a_program_is_at_least_that_of_its_arguments(standard_promotion):
    found = memory.measure_memory(["linear_cpu"])["presets"]["linear_cpu"]
    assert found.keys() == {"predict", "train", "evaluate"}
    slices = 3064 * 128 * 128 / 2**20
    assert found["train"]["argument_mib"] > slices and found["predict"]["argument_mib"] < slices
    lines = memory.describe_memory({"presets": {"linear_cpu": found}})
    assert len(lines) == 3 and "linear_cpu, train" in "".join(lines)
    assert jax.default_backend() == "cpu"
