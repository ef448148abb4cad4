"""What `scripts/bench` measures of whole runs, of streams and of growth, in small."""

import contextlib
import dataclasses
import json
import shutil
import time
import types

import numpy as np
import pytest

import btjax
from btjax.base.rows import LazyRows
from btjax.data.builder import load
from btjax.runs.run import Run
from btjax.systems.presets import preset_names
from experiments.bench import __main__ as command
from experiments.bench import accuracy, depthwise, growth, predicting, streaming, waiting, whole
from experiments.bench.cases import Case
from experiments.tables.bench import speed_section, speed_table
from tests.attack.__main__ import small_run


def test_synthetic_slices_differ_and_are_the_same_each_time(tmp_path):
    source = streaming.synthetic_source(70, 32)
    slices = load(source, 32, tmp_path, stream=True)
    assert isinstance(slices.images, LazyRows) and len(np.unique(slices.digests)) == 70
    again = load(streaming.synthetic_source(70, 32), 32, tmp_path / "other")
    assert again.fingerprint == slices.fingerprint and len(np.unique(again.patients)) == 18
    assert len(load(streaming.synthetic_source(71, 32), 32, tmp_path)) == 71


def test_a_stream_is_compared_with_memory_in_the_same_round():
    def answers(*times):
        return [{"ms_per_slice": t, "cpu_ms_per_slice": 2 * t, "peak_memory_mib": 100 * t} for t in times]

    found = streaming.summarised(500, {"resident": answers(1.0, 2.0, 6.0), "streamed": answers(2.0, 2.5, 8.0)})
    assert found["speed_share"] == 0.75 and found["rounds"] == 3  # 0.5, 0.8, 0.75
    assert found["streamed"] == {"ms_per_slice": 2.5, "cpu_ms_per_slice": 5.0, "peak_memory_mib": 800}
    assert found["cpu_ratio"] == 1.3333
    assert "75.0%" in streaming.describe_stream(found)[0]


def test_both_forms_of_a_stream_answer_epoch_by_epoch():
    found = streaming.measure_streaming(64, 1)
    assert found["slices"] == 64 and found["rounds"] == 1 and found["speed_share"] > 0
    assert found["streamed"]["peak_memory_mib"] > 50
    assert len(streaming.describe_stream(found)) == 3


def test_an_epoch_of_a_large_stream_takes_a_part_of_its_slices(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(streaming, "EPOCH", 40)
    trainer = types.SimpleNamespace(fit=lambda observer: None)
    monkeypatch.setattr(streaming, "Trainer", lambda task, config, examples, seed: seen.append(examples) or trainer)
    streaming.measure_stream_copy(90, str(tmp_path))
    streaming.serve_stream({"slices": 90, "cache": str(tmp_path), "stream": True}, print)
    held, rows = seen[0].validation, seen[0].train[0]
    assert len(held) == 10 and len(rows) == 30 and len({*held, *rows}) == 40 and max(*held, *rows) >= 40
    assert isinstance(seen[0].images, LazyRows) and len(seen[0].images) == 90


def test_features_are_compared_with_the_forward_pass_by_turns():
    case = Case("vgg16", 32, 3, 16, dense=8)
    found = waiting.measure_features(2, 32, dataclasses.asdict(case))
    assert found["slices"] == 32 and found["image_size"] == 32 and found["rounds"] == 2
    assert 0 < found["share"] <= 2 and found["compile_seconds"] > 0
    assert found["forward_ms_per_slice"] > 0 and found["features_ms_per_slice"] > 0
    (line,) = waiting.describe_features(found | {"share": 0.987})
    assert "features of 32 slices at 32 px" in line and "98.7% of the speed" in line


def test_depthwise_convolutions_are_compared_with_xlas_own_piece_by_piece():
    found = depthwise.measure_depthwise(2, 2, {"small": (8, 4, 5, 2)})
    for piece in ("forward", "image_gradient", "kernel_gradient"):
        times = found["layers"]["small"][piece]
        assert times["shifted_ms"] > 0 and times["xla_ms"] > 0 and times["ratio"] > 0
        times |= {"ratio": 2.5, "shifted_ms": 1.0}
    (line,) = depthwise.describe_depthwise(found)
    assert "Depthwise 5x5 convolution of 4 channels at 8 px, stride 2 (small of" in line
    assert line.endswith("forward 2.5 (1.0 ms), image gradient 2.5 (1.0 ms), kernel gradient 2.5 (1.0 ms)")
    assert f"-{line[1:]}." in speed_table({"device": "cpu", "cases": {"depthwise": found}})


def test_the_seconds_of_maps_are_told_by_method(tmp_path, standard_promotion):
    run = small_run(tmp_path / "own")
    settings = {"place": str(tmp_path), "run": str(run.folder), "methods": ["gradient", "grad_cam"]}
    found = command.ask_once("saliency", json.dumps(settings))
    phases = {"scores on the masks", "insertion, deletion and sensitivity", "randomised networks", "figures and page"}
    assert {"maps by gradient", "maps by grad_cam"} | phases <= found["seconds"].keys()
    assert found["total"] == pytest.approx(sum(found["seconds"].values()), abs=0.1)
    assert found["slices"] == len(run.predictions.side("test").ids) and found["image_size"] == 32
    (line,) = waiting.describe_saliency({"runs": [{"cold": found}]})
    assert line.startswith(f"  A run of {found['slices']} test slices at 32 px") and "maps by gradient" in line
    assert any((tmp_path / "compiled").iterdir()) and any((tmp_path / "cache").iterdir())


def test_a_run_that_was_trained_to_be_explained_may_go_once_it_is(tmp_path, standard_promotion, monkeypatch):
    @contextlib.contextmanager
    def passing(folder):
        run = small_run(tmp_path / "own")
        yield btjax.restore(run.folder)
        shutil.rmtree(run.folder)

    monkeypatch.setattr(predicting, "some_run", passing)
    # The place of compiled programs is that of the whole process.
    monkeypatch.setattr(waiting, "watch_compiling", lambda *_: contextlib.nullcontext())
    found = waiting.measure_saliency(str(tmp_path / "maps"), methods=["gradient"])
    assert found["system"] == "cnn" and found["image_size"] == 32 and found["seconds"]["maps by gradient"] > 0


def test_a_stopwatch_divides_time_among_phases_and_gives_compilation_its_own():
    now = [0.0]
    watch = whole.Stopwatch(lambda: now[0])

    def work(seconds):
        now[0] += seconds

    work(1)
    with watch.phase("outer"):
        work(2)
        watch.timed("inner", work)(4)
        watch.move("/jax/core/compile/backend_compile_duration", 0.5)
        watch.move("/jax/core/compile/jaxpr_trace_duration", 0.5)
        work(8)
    assert watch.stop() == {"outer": 9.5, "inner": 4.0, "rest": 1.0, "compile": 0.5}
    watch.forget("rest")
    assert "rest" not in watch.seconds


def test_the_seconds_of_a_run_are_told_by_phase_and_its_caches_save_some(tmp_path):
    settings = {"preset": "cnn_cpu", "place": str(tmp_path), "epochs": 1, "slices": 40}
    cold, warm = (command.ask_once("whole", json.dumps(settings)) for _ in range(2))
    assert cold["epochs"] == 1 and cold["slices"] == warm["slices"] > 40
    told = {"imports", "compile", "decode and prepare", "steps", "predictions", "report"}
    assert told <= cold["seconds"].keys() and all(cold["seconds"][name] > 0 for name in told)
    assert cold["total"] == pytest.approx(sum(cold["seconds"].values()), abs=0.1)
    assert "decode and prepare" not in warm["seconds"] and "read the prepared copy" in warm["seconds"]
    lines = whole.describe_whole({"presets": {"cnn_cpu": {"cold": cold, "warm": warm}}})
    assert len(lines) == 2 and "cold caches" in lines[0] and "compile" in lines[0]


def test_the_time_to_an_accuracy_is_told_of_the_first_epoch_that_has_it_and_of_the_epoch_that_validation_chose(
    tmp_path,
):
    settings = {"preset": "cnn_demo", "protocol": "patient", "goal": 0.0, "place": str(tmp_path), "epochs": 2}
    began = time.time()
    found = command.ask_once("accuracy", json.dumps(settings | {"began": began}))
    assert (
        len(found["accuracy"]) == 2 and found["reached_seconds"] == found["seconds"][0] and found["reached_epoch"] == 1
    )
    assert 0 < found["seconds"][0] <= found["seconds"][1] <= found["total_seconds"] < time.time() - began
    epoch = Run(tmp_path / "run").report.checkpoint.epoch
    assert found["accuracy"][epoch - 1] == pytest.approx(found["chosen"]["accuracy"], abs=1e-4)
    assert {accuracy.PRESET, accuracy.PRETRAINED} <= set(preset_names())
    told = found | {"seconds": [30.0, 45.0], "accuracy": [0.5, 0.96], "goal": 0.95, "total_seconds": 60.0}
    told |= {"reached_epoch": 2, "reached_seconds": 45.0}
    (line,) = accuracy.describe_accuracy({"runs": [told]})
    told_of = f"{found['test_slices']} test slices, cnn_demo under `patient`, fold 0, seed 0, on synthetic heads"
    assert f"From nothing to 95.0% of {told_of}" in line
    (line,) = accuracy.describe_accuracy({"runs": [told | {"pretrained": True}]})
    assert f"From published weights to 95.0% of {told_of}" in line
    assert "reached after 0.8 min, in epoch 2 of 2 (told afterwards" in line and "took 1.0 min" in line
    (line,) = accuracy.describe_accuracy({"runs": [told | {"reached_epoch": None, "reached_seconds": None}]})
    assert "not reached in 2 epochs, at best 96.0% (told afterwards" in line


def test_a_pretrained_network_goes_for_the_goal_under_family_where_its_weights_are_at_hand(monkeypatch):
    asked = []
    monkeypatch.setattr(accuracy, "ask_once", lambda kind, settings: asked.append(json.loads(settings)) or {})
    for weights in ("", "b0.h5"):
        assert accuracy.measure_times_to_accuracy("data", 0, weights) == {"runs": [{}, {}]}
    told = [(one["protocol"], one["preset"], one["weights"]) for one in asked]
    assert told[:2] == [("slice", "cnn_fast", ""), ("family", "cnn_fast", "")]
    assert told[2:] == [("slice", "cnn_fast", ""), ("family", "joint_efficientnet_cpu", "b0.h5")]


def test_weights_that_are_not_there_are_refused_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--cases=time_to_accuracy", "--weights=nowhere.h5"])
    assert "--weights=nowhere.h5: not found, expected a file of weights" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_one_line_and_nothing_is_measured(tmp_path, capfd):
    assert command.main(["--cases=saliency", f"--runs={tmp_path / 'nowhere'}", f"--results_dir={tmp_path}"]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "nowhere" in line and line.startswith("scripts/bench: ")]
    assert not [line for line in lines if "Traceback" in line]


def test_every_phase_is_a_function_that_is_there():
    assert set(whole.PHASES) >= {"steps", "report"}
    for module, path in whole.PHASES.values():
        owner = __import__(module, fromlist=["_"])
        for part in path.split("."):
            owner = getattr(owner, part)
        assert callable(owner)


def test_growth_raises_one_thing_at_a_time():
    found = growth.points(5000)
    assert {name for name, _ in found} == set(growth.RANGES)
    for name, point in found:
        changed = [field for field in growth.RANGES if getattr(point, field) != getattr(growth.Point(), field)]
        assert changed in ([], [name])
    assert max(point.slices for _, point in found) == 3072


def fake_growth():
    rows = []
    for name, point in growth.points(3072):
        values = {field: getattr(point, field) for field in growth.RANGES}
        time = 0.5 * (point.side / 64) ** 2 * (2 if point.batch == 8 else 1)
        rows.append({"name": name, **values, "ms_per_slice": time, "peak_memory_mib": 512, "compile_seconds": 3.0})
    return {"points": rows, "rounds": 3}


def test_growth_is_told_relative_to_proportional_growth_and_drawn(tmp_path):
    result = fake_growth()
    assert growth.relative_times(result, "side") == ([64, 128, 256, 512], [1.0] * 4)
    assert growth.relative_times(result, "batch") == ([8, 16, 32, 64, 128], [1.0, 0.5, 0.5, 0.5, 0.5])
    assert len(growth.describe_growth(result)) == len(result["points"])
    growth.draw_growth(result, tmp_path / "growth.svg")
    assert "proportional growth" in (tmp_path / "growth.svg").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["growth.svg"]


@pytest.mark.parametrize("values", [{"folds": 2}, {"devices": 2}])
def test_a_point_of_growth_is_measured(values):
    settings = {"slices": 32, "side": 64, "batch": 8, "rounds": 1} | values
    found = command.ask_once("growth_point", json.dumps(settings))
    assert found["ms_per_slice"] > 0 and found["peak_memory_mib"] > 50


def test_the_tables_tell_streams_runs_memory_and_growth():
    run = {"seconds": {"steps": 7.0, "compile": 2.0}, "total": 9.0, "slices": 300, "epochs": 2}
    figures = {"argument_mib": 100.0, "output_mib": 1.0, "alias_mib": 1.0, "temp_mib": 900.0, "compile_seconds": 9.0}
    cases = {
        "stream": streaming.summarised(
            500,
            {
                form: [{"ms_per_slice": 2.0, "cpu_ms_per_slice": 3.0, "peak_memory_mib": 700}]
                for form in streaming.FORMS
            },
        ),
        "whole": {"presets": {"cnn_demo": {"cold": run, "warm": run}}},
        "memory": {"presets": {"cnn_paper": {"train": figures}}},
        "growth": fake_growth(),
        "features": {
            "slices": 256,
            "image_size": 224,
            "features_ms_per_slice": 50.0,
            "share": 0.95,
            "compile_seconds": 3,
        },
        "saliency": {"runs": [{"warm": run | {"image_size": 128, "system": "cnn", "costly_slices": 48}}]},
    }
    table = speed_table({"device": "cpu", "cases": cases})
    assert (
        "- 500 slices at 128 px read from files while training goes on, the same 500 in each epoch: 100.0% of the "
        "speed in memory, 1.00 times its processor time, at most " in table
    )
    assert "cnn_demo, 300 slices, 2 epochs, cold caches: 9.0 s, of which steps 7.0, compile 2.0" in table
    assert "cnn_paper, train: 100 MiB" in table and "900 MiB besides; compiled in 9 s." in table
    assert "| side | 64: 1.00, 512 MiB | 128: 1.00, 512 MiB |" in table
    assert "- Frozen VGG16 features of 256 slices at 224 px, from slices to files: 50.0 ms a slice, 95.0% of" in table
    assert (
        "- A run of 300 test slices at 128 px explained, cnn, methods of hundreds of passes on 48 of them, warm"
        in table
    )


def test_the_page_shows_what_was_drawn_of_growth():
    result = {"device": "cpu", "machine": {"processor": "A"}, "cases": {"growth": fake_growth()}}
    assert speed_section({"bench_a": result}, {}).endswith("\n\n![How time and memory grow](growth_a.svg)")


def test_sizes_below_nothing_are_one_clear_line(capsys):
    with pytest.raises(SystemExit):
        command.main(["--cases=whole", "--slices=-1"])
    assert "--slices=-1: expected at least 0" in capsys.readouterr().err
