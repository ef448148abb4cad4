import dataclasses
import json
import platform
import sys
import types
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import btjax.models.cnn
import btjax.models.unet
import btjax.models.vgg16
import btjax.nn.transposed
from btjax.base import devices
from btjax.training.step import make_train_step
from experiments import bench
from experiments.bench import __main__ as command
from experiments.bench import cases, measure, worker
from experiments.bench.cases import BFLOAT16, CASES, Case, flops
from experiments.bench.forms_btjax import begin, make_model, make_task
from experiments.bench.machine import described, machine, slug

SMALL = {
    "cnn": Case("cnn", 16, 1, 4, (4, 8), 8),
    "vgg16": Case("vgg16", 32, 3, 2, dense=8),
    "unet": Case("unet", 32, 3, 4, (4,)),
}
kinds = pytest.mark.parametrize("kind", SMALL)


def outputs_shape(model, case, **arguments):
    inputs = jax.ShapeDtypeStruct((2, case.image_size, case.image_size, case.channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    return variables, jax.eval_shape(lambda *args: model.apply(*args, **arguments), variables, inputs)


def number_of_values(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_flops_of_a_cnns_step_are_those_of_its_products():
    case = Case("cnn", 8, 3, 2, (4, 6), 5)
    first, second = 8 * 8 * 9 * 3 * 4, 4 * 4 * 9 * 4 * 6
    dense = 2 * 2 * 6 * 5 + 5 * 3
    assert flops(case) == 2 * (2 * first + 3 * second + 3 * dense)


def test_the_flops_of_vgg16_are_the_published_ones():
    # 15.35e9 multiply-adds in the convolutions at 224 pixels (Keras, torchvision: 15.5e9 with ImageNet's own head).
    head = 25088 * 128 + 128 * 3
    assert flops(CASES["vgg16"]) == pytest.approx(2 * (15.3466e9 + head), rel=1e-4)


def native(image, kernel, strides, padding, lhs_dilation=None, rhs_dilation=None, dimension_numbers=None, **_):
    numbers = ("NHWC", "HWIO", "NHWC") if dimension_numbers is None else dimension_numbers
    return jax.lax.conv_general_dilated(image, kernel, strides, padding, lhs_dilation, rhs_dilation, numbers)


@pytest.fixture
def native_convolutions(monkeypatch):
    """Models on XLA's own convolutions, whose operations it can count, and which compile fast."""
    for module in (btjax.models.cnn, btjax.models.unet, btjax.models.vgg16):
        monkeypatch.setattr(module, "conv_general_dilated", native)
    monkeypatch.setattr(
        btjax.nn.transposed,
        "conv_transpose",
        lambda *arguments: jax.lax.conv_transpose(*arguments, dimension_numbers=("NHWC", "HWIO", "NHWC")),
    )


@pytest.mark.parametrize(
    "case",
    [
        Case("cnn", 64, 3, 1, (32, 64), 64),
        Case("vgg16", 128, 3, 1, dense=8),
        Case("unet", 128, 3, 1, (16,)),
    ],
    ids=lambda case: case.kind,
)
def test_the_flops_are_those_that_xla_counts(case, native_convolutions):
    model = make_model(case)
    inputs = jax.ShapeDtypeStruct((1, case.image_size, case.image_size, case.channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    params = variables.pop("params")
    trained = {name: tree for name, tree in params.items() if name != "location"}

    def total(trained, params, rest, inputs):
        return jnp.sum(model.apply({"params": params | trained} | rest, inputs))

    compute = total if case.kind == "vgg16" else jax.grad(total)
    counted = jax.jit(compute).lower(trained, params, variables, inputs).cost_analysis()["flops"]
    # XLA leaves out the taps on padding and counts activations.
    assert flops(case) == pytest.approx(counted, rel=0.12)


def test_the_flops_of_maps_are_those_that_xla_counts(native_convolutions):
    case = Case("smooth_grad", 64, 3, 1, (32, 64), 64)
    model = make_model(case)
    inputs = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    compute = jax.grad(lambda inputs, variables: jnp.sum(model.apply(variables, inputs)[:, 0]))
    counted = jax.jit(compute).lower(inputs, variables).cost_analysis()["flops"]
    assert flops(case) == pytest.approx(counted * cases.SAMPLES, rel=0.12)


def answers(times):
    rows = [{"ms_per_image": time, "peak_memory_mib": 1.0} for time in times]
    return {"compile_seconds": 1.0, "rounds": rows}


def test_ratios_and_shares_are_of_the_same_round():
    case, peaks = CASES["small"], [{"float32": 1000.0}, {"float32": 500.0}, {"float32": 250.0}]
    result = measure.summarise(
        case, {"btjax": answers([1.0, 2.0, 4.0]), "torch_eager": answers([3.0, 4.0, 8.0])}, peaks
    )
    assert result["forms"]["torch_eager"]["time_over_btjax"] == 2.0
    assert result["forms"]["btjax"]["time_over_btjax"] == 1.0
    assert result["forms"]["btjax"]["gflops"] == pytest.approx(flops(case) / 1e9 / 2e-3, rel=1e-2)
    assert result["forms"]["btjax"]["share_of_matmul_peak"] == pytest.approx(flops(case) / 1e9, rel=1e-2)
    assert json.loads(json.dumps(result)) and len(measure.describe(result)) == 4


def test_bfloat16_is_compared_with_bfloat16_and_its_own_peak():
    case = CASES["small"]
    rows = {"btjax": answers([4.0]), "btjax_bfloat16": answers([1.0]), "torch_compile_bfloat16": answers([2.0])}
    forms = measure.summarise(case, rows, [{"float32": 100.0, "bfloat16": 1000.0}])["forms"]
    assert forms["torch_compile_bfloat16"]["time_over_btjax"] == 2.0
    assert forms["btjax_bfloat16"]["share_of_matmul_peak"] == pytest.approx(flops(case) / 1e9, rel=2e-2)


def test_bfloat16_stands_beside_float32_on_a_gpu_alone():
    assert not any(form.endswith(BFLOAT16) for form in cases.forms_of(CASES["small"], "cpu"))
    assert "btjax_bfloat16" in measure.select_forms(CASES["small"], "gpu", ["torch_compile_bfloat16"])
    assert measure.select_forms(CASES["small"], "cpu", ["keras"]) == ["btjax", "keras_jax", "keras_torch"]
    assert "btjax_bfloat16" not in cases.forms_of(CASES["paper512"], "gpu")


def test_memory_is_kept_by_the_forms_that_say_so_and_these_are_compared_with_each_other(monkeypatch):
    asked = []
    for framework in ("btjax", "torch"):
        fake = types.SimpleNamespace(prepare=lambda case, form: form)
        monkeypatch.setitem(sys.modules, f"experiments.bench.forms_{framework}", fake)
        monkeypatch.setattr(bench, f"forms_{framework}", fake, raising=False)
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: asked.append(True))
    kept, plain = ["btjax_kept", "torch_channels_last_kept", "torch_compile_kept"], ["btjax", "torch_compile"]
    assert [worker.prepare(form, CASES["small"]) for form in kept] == ["btjax", "torch_channels_last", "torch_compile"]
    assert len(asked) == 3
    assert [worker.prepare(form, CASES["small"]) for form in plain] == plain and len(asked) == 3
    assert set(kept) < set(cases.forms_of(CASES["small"], "cpu"))
    assert not set(kept) & set(cases.forms_of(CASES["small"], "gpu"))
    assert {cases.reference_form(form) for form in kept} == {"btjax_kept"}
    assert measure.select_forms(CASES["small"], "cpu", [kept[1]]) == ["btjax", "btjax_kept", kept[1]]


class FakeWorker:
    """Answers as `experiments.bench.worker` does; `torch_eager` never starts, `torch_compile` ends at its second."""

    asked: ClassVar[list] = []

    def __init__(self, form, case):
        self.form, self.runs, self.ended = form, 0, form == "torch_eager"
        assert Case.from_json(json.loads(case)) == SMALL["cnn"]

    def ask(self, question=None):
        self.asked.append((self.form, question))
        self.runs += question == "run"
        if self.ended or (self.form == "torch_compile" and self.runs == 2):
            return None
        return {"compile_seconds": 1.0, "ms_per_image": 2.0, "peak_memory_mib": 1.0, "gflops": 10.0}

    def stop(self):
        return 1

    kill = stop


def test_forms_take_turns_and_one_that_cannot_run_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(measure, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "asked", [])
    forms = ["btjax", "torch_eager", "torch_compile", "keras_jax"]
    result = measure.measure_case("tiny", SMALL["cnn"], forms, 3)
    assert list(result["forms"]) == ["btjax", "keras_jax"] and result["rounds"] == 3
    printed = capsys.readouterr()
    assert "tiny: round 3 of 3, ms an image: btjax 2, keras_jax 2" in printed.out
    assert "tiny: torch_eager could not run, exit status 1: left out" in printed.err
    turns = [form for form, question in FakeWorker.asked if question == "run"]
    assert turns[:6] == ["btjax", "torch_compile", "keras_jax", "keras_jax", "torch_compile", "btjax"]


def test_without_btjax_there_is_nothing_to_compare_with(monkeypatch):
    monkeypatch.setattr(measure, "Worker", FakeWorker)
    assert measure.measure_case("tiny", SMALL["cnn"], ["torch_eager", "keras_jax"], 2) is None


def test_a_worker_takes_steps_before_its_first_answer_and_then_only_when_asked(monkeypatch):
    events, clock = [], [0.0]

    def run(steps):
        clock[0] += 0.01 * steps + 7 * (not events)  # the first compiles
        events.append(steps)

    monkeypatch.setattr(worker, "prepare", lambda form, case: run)
    monkeypatch.setattr(worker, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(worker, "MOST_STEPS", 5)
    monkeypatch.setattr("sys.stdin", ["run\n", "run\n"])
    worker.serve("btjax", SMALL["cnn"], events.append)
    warm, first, timed = events[:3], events[3], events[4:]
    assert warm == [1, 1, 1] and first == {"compile_seconds": pytest.approx(7.01)}
    assert timed[::2] == [5, 5]
    for answer in timed[1::2]:
        assert list(answer) == ["ms_per_image", "peak_memory_mib"]
        assert answer["ms_per_image"] == pytest.approx(10 / SMALL["cnn"].batch_size)


def test_a_worker_process_names_the_device():
    device = measure.ask_once("device")
    assert device["platform"] == "cpu" and device["versions"]["jax"] == jax.__version__
    assert device["name"] == slug(device["machine"]["processor"]) and device["machine"]["cores"] >= 1


def test_a_processor_is_told_by_name_family_cores_caches_and_instruction_sets(tmp_path):
    (tmp_path / "proc").mkdir()
    text = "model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512_bf16 fma\n"
    (tmp_path / "proc" / "cpuinfo").write_text(f"{text}\n{text.replace('EPYC', 'other')}")
    cache = tmp_path / "sys" / "devices" / "system" / "cpu" / "cpu0" / "cache"
    for index, (level, kind, size) in enumerate([(1, "Data", "32K"), (1, "Instruction", "64K"), (2, "Unified", "1M")]):
        (cache / f"index{index}").mkdir(parents=True)
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (cache / f"index{index}" / name).write_text(f"{value}\n")
    found = machine(tmp_path)
    assert found["processor"] == "AMD EPYC (family 25, model 17)"
    assert found["caches"] == {"L1d": "32K", "L1i": "64K", "L2": "1M"}
    assert found["instruction_sets"] == ["avx2", "fma", "avx512_bf16"]
    assert slug(found["processor"]) == "amd-epyc-family-25-model-17"
    assert described(found).startswith("AMD EPYC (family 25, model 17); ")


def test_a_processor_that_does_not_tell_its_name_is_called_by_its_architecture(tmp_path):
    found = machine(tmp_path)
    assert found["processor"] == (platform.processor() or platform.machine())
    assert found["caches"] == {} and found["instruction_sets"] == []


def test_a_partial_run_keeps_the_other_cases(tmp_path):
    path, device = tmp_path / "bench_a.json", {"platform": "cpu", "name": "a", "machine": {"processor": "A"}}
    command.merge(path, device, "vgg16", {"rounds": 1})
    command.merge(path, device, "small", {"rounds": 2})
    command.merge(path, device, "vgg16", {"rounds": 3})
    whole = json.loads(path.read_text())
    assert whole["device"] == "cpu" and whole["machine"] == {"processor": "A"}
    written = whole["cases"]
    assert written == {"small": {"rounds": 2}, "vgg16": {"rounds": 3}} and list(written) == ["small", "vgg16"]
    assert [file.name for file in tmp_path.iterdir()] == ["bench_a.json"]


@pytest.mark.parametrize(("name", "found", "needed"), [("paper512", "cpu", "GPU"), ("depthwise", "gpu", "CPU")])
def test_what_needs_another_device_is_skipped_with_a_reason(name, found, needed, capsys):
    assert command.measure(name, {"platform": found}, ["btjax"], 1) is None
    assert capsys.readouterr().out == f"{name}: skipped, it needs a {needed} and JAX sees a {found}\n"


def test_an_unknown_case_is_one_clear_line(capsys):
    with pytest.raises(SystemExit):
        command.main(["--cases=small,large"])
    assert "--cases: found 'large', expected some of small, paper64" in capsys.readouterr().err


def test_cases_survive_their_way_to_the_worker():
    for case in CASES.values():
        assert Case.from_json(json.loads(json.dumps(dataclasses.asdict(case)))) == case


@pytest.mark.parametrize("kind", ["cnn", "unet"])
def test_btjax_trains_all_but_what_is_frozen(kind):
    case = SMALL[kind]
    task = make_task(case)
    state = jax.eval_shape(lambda: begin(case, task)[1])
    optimizer, _ = begin(case, task)
    assert list(state.frozen) == ["location"] * (kind == "unet")
    side = case.image_size
    batch = {"images": ((4, side, side), jnp.uint8), "labels": ((4,), jnp.int32), "counted": ((4,), bool)}
    batch = {name: jax.ShapeDtypeStruct(*leaf) for name, leaf in batch.items()}
    with jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an integer step count
        new_state, sums = jax.eval_shape(make_train_step(task, optimizer), state, batch)
    assert jax.tree.structure(new_state) == jax.tree.structure(state) and "loss" in sums


@pytest.mark.parity
@kinds
def test_pytorch_models_have_btjaxs_parameters_and_outputs(torch, kind):
    from experiments.bench.forms_torch import make_model as make_torch

    case = SMALL[kind]
    variables, expected = outputs_shape(make_model(case), case)
    model = make_torch(case).eval()
    assert sum(values.numel() for values in model.parameters()) == number_of_values(variables["params"])
    with torch.no_grad():
        outputs = model(torch.zeros(2, case.channels, case.image_size, case.image_size))
    shape = outputs.permute(0, 2, 3, 1).shape if kind == "unet" else outputs.shape
    assert tuple(shape) == expected.shape


@pytest.mark.parity
@kinds
def test_keras_models_have_btjaxs_parameters_and_outputs(keras, kind, monkeypatch):
    from experiments.bench.forms_keras import make_model as make_keras

    case = SMALL[kind]
    variables, expected = outputs_shape(make_model(case), case)
    # Drawing random kernels would take longer than everything else.
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: np.zeros(shape))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = make_keras(case)
    assert model.count_params() == number_of_values(variables)
    frozen = sum(int(np.prod(values.shape)) for values in model.non_trainable_weights)
    location = variables["params"].get("location", {})
    assert frozen == number_of_values(variables.get("batch_stats", {})) + number_of_values(location)
    assert model.output_shape[1:] == expected.shape[1:]


@pytest.mark.parity
def test_the_pytorch_unet_makes_the_mirror_image_of_btjaxs_output(torch, native_convolutions):
    from experiments.bench.forms_torch import UNet

    case, random = SMALL["unet"], np.random.default_rng(0)
    model = UNet(case).eval()
    inputs = random.uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
    shapes, _ = outputs_shape(make_model(case), case)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.1
        return random.normal(0, spread, leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    values = model.state_dict()
    for name, tree in variables["params"].items():
        prefix = name if name in ("location", "colorer") else f"chain.{name}"
        transposed = name.startswith("up") or name == "last"
        inner = f"{prefix}.conv" if "conv" in tree else prefix
        kernel = tree.get("conv", tree)["kernel"]
        # A transposed kernel is mirrored already: PyTorch's convolution is a gradient, Flax's one of a dilated image.
        kernel = kernel.transpose(2, 3, 0, 1) if transposed else kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        assert values[f"{inner}.weight"].shape == kernel.shape
        values[f"{inner}.weight"] = torch.tensor(kernel.copy())
        if "bias" in tree:
            values[f"{inner}.bias"] = torch.tensor(tree["bias"])
        if "batch_norm" in tree:
            statistics = variables["batch_stats"][name]["batch_norm"]
            norm = {"weight": tree["batch_norm"]["scale"], "bias": tree["batch_norm"]["bias"]}
            norm |= {"running_mean": statistics["mean"], "running_var": statistics["var"]}
            values |= {f"{prefix}.batch_norm.{key}": torch.tensor(value) for key, value in norm.items()}
    model.load_state_dict(values)
    with torch.no_grad():
        found = model(torch.tensor(inputs[:, ::-1, ::-1].copy()).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    expected = jax.jit(make_model(case).apply)(variables, inputs)
    np.testing.assert_allclose(found[:, ::-1, ::-1], expected, atol=1e-4)


@pytest.mark.parity
@kinds
def test_pytorch_takes_steps(torch, kind):
    worker.prepare("torch_channels_last", SMALL[kind])(2)


@pytest.mark.parity
def test_keras_takes_steps(keras):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        worker.prepare("keras_jax", Case("cnn", 8, 1, 4, (4,), 4))(2)


def test_captum_makes_the_maps_of_btjax(torch, captum):
    from experiments.bench import forms_btjax, forms_captum

    case = Case("integrated_gradients", 32, 1, 4, (4, 8), 8)
    own = forms_btjax.explain(case, make_model(case))()
    for form in ("captum_eager", "captum_channels_last"):
        found = forms_captum.explain(case, form)().sum(1).numpy()
        # A unit within rounding of zero somewhere on the line may be on in one and off in the other.
        assert np.linalg.norm(found - own) < 1e-3 * np.linalg.norm(own)
        forms_captum.prepare(dataclasses.replace(case, kind="smooth_grad"), form)(1)
    smooth = dataclasses.replace(case, kind="smooth_grad")
    own = forms_btjax.explain(smooth, make_model(smooth))()
    found = forms_captum.explain(smooth, "captum_eager")().norm(dim=1).numpy()
    assert np.corrcoef(own.ravel(), found.ravel())[0, 1] > 0.8  # the noise is drawn differently
