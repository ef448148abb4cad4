"""Bad inputs by kind, each made at random from a seed: files, cells, options, configs, weights and calls."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING

import h5py
import jax
import numpy as np
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.options import check_option, option_type, options
from btjax.saliency.classifier import Classifier
from btjax.saliency.maps import attribution_maps
from btjax.saliency.methods import METHODS
from btjax.systems.config import Config, config_groups
from btjax.systems.system import system_names
from btjax.weights.keras import read_keras
from tests.attack.data_files import STORED, damaged_form, odd_names, other_cell, other_field
from tests.attack.outcome import Attack, Random, damage, pick
from tests.readers import forms

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator


def attacks(folder: pathlib.Path, run: btjax.Run, count: int, seed: int = 0) -> Iterator[Attack]:
    """Inputs of every kind by turns, until there are `count`.

    Args:
      folder: an empty one for what is written.
      run: a small finished classifier's run, whose files are copied and changed.
      count: how many.
      seed: another seed, other inputs.
    """
    makers: list[Callable[[pathlib.Path, Random], Attack]] = [
        damaged_form,
        other_field,
        other_cell,
        odd_names,
        lambda place, random: _option(random),
        lambda place, random: _changed_json(place, random, run),
        _weights,
        lambda place, random: _to_predict(place, random, run),
        lambda place, random: _call(random, run),
    ]
    for number in range(count):
        random = np.random.default_rng([seed, number])
        place = folder / str(number)
        place.mkdir(parents=True)
        yield makers[number % len(makers)](place, random)


OPTIONS = (
    -1, 0, 1, 3, True, None, 2**31, 2**63, 10**400, 1e308, -1e308, 5e-324, 0.5, math.nan, math.inf, -math.inf,
    "", "1", "x" * 10**5,
    "../x", "\0", [], [1], {}, {"a": 1}, (), (0,), (-1,), (1,) * 10**5, ("a",), (None,), (2**40,), (True,), ((1,),),
    1j, b"1", object(), np.float64(2), np.zeros(3), np.int64(7),
)  # fmt: skip


def _option(random: Random) -> Attack:
    system = pick(random, system_names())
    groups = config_groups(system)
    group = pick(random, groups)
    name, value = pick(random, [*options(groups[group])] or ["x"]), pick(random, OPTIONS)

    def act() -> None:
        config = Config.default(system).replace(f"{group}.{name}", value)
        found = getattr(getattr(config, group), name)
        kind, element = option_type(groups[group], name)
        assert type(found) is kind or (kind is float and type(found) is int), (found, kind)
        assert element is None or all(isinstance(one, element) for one in found)
        check_option(groups[group], name, found, name)
        assert Config.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)), "config.json") == config

    shown = repr(value)
    return Attack("options", f"{system}: {group}.{name} = {shown[:30]}", act)


NODES = (None, True, -1, 0, 1.5, 2**70, 1e308, "", "x", "\ud800", "<script>", [], {}, [[]], {"a": []}, [1] * 1000)


def _changed_json(place: pathlib.Path, random: Random, run: btjax.Run) -> Attack:
    """config.json or report.json with a value of another kind, its checksum left, taken out or damaged."""
    path = pick(random, ("config.json", "report.json"))
    values = json.loads((run.folder / path).read_text())
    whole = copy.deepcopy(values)
    node, trail = values, [pick(random, values)]
    while isinstance(node[trail[-1]], dict | list) and node[trail[-1]] and random.random() < 0.8:
        node = node[trail[-1]]
        trail.append(pick(random, node if isinstance(node, dict) else range(len(node))))
    how, kept = pick(random, ("another value", "missing")), pick(random, (True, False))
    if how == "missing":
        del node[trail[-1]]
    else:
        node[trail[-1]] = pick(random, NODES)
    if not kept:
        values.pop("sha256", None)
    if random.random() < 0.1:
        values, how = pick(random, NODES), "another file"
    for name in ("config.json", "report.json"):
        (place / name).write_text(json.dumps(values if name == path else json.loads((run.folder / name).read_text())))

    def act() -> None:
        found = btjax.Run(place)
        config, _ = found.config, found.report
        if path == "config.json":
            json.dumps(config.to_json(), allow_nan=False)
        elif kept and trail != ["sha256"]:
            assert values == whole or how == "another file", "a report with a false checksum was read"

    name = f"{path}: {how} at {'.'.join(map(str, trail))}{'' if kept else ', without checksum'}"
    return Attack("configs and reports", name, act)


def _weights(place: pathlib.Path, random: Random) -> Attack:
    path = place / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv", b"dense"]
        for layer in ("conv", "dense"):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
            group.create_dataset(
                f"{layer}/kernel:0", data=np.ones((3, 3, 1, 4) if layer == "conv" else (4, 3), np.float32)
            )
            group.create_dataset(f"{layer}/bias:0", data=np.ones(4 if layer == "conv" else 3, np.float32))
        how = pick(random, ("bytes", "layer_names", "weight_names", *STORED))
        if how in STORED:
            del file["conv/conv/kernel:0"]
            STORED[how](file["conv/conv"], "kernel:0", place)
        elif how != "bytes":
            holder = file if how == "layer_names" else file["conv"]
            holder.attrs[how] = pick(random, (1, np.nan, b"", "conv", [b"\xff"], [1.5], np.zeros((2, 2)), [b"/"] * 500))
    if how == "bytes":
        data, how = damage(path.read_bytes(), random)
        path.write_bytes(data)

    def act() -> None:
        for held in read_keras(path).layers.values():
            for array in held.values():
                assert isinstance(array, np.ndarray)

    return Attack("files of weights", how, act)


def _to_predict(place: pathlib.Path, random: Random, run: btjax.Run) -> Attack:
    """Two pictures to predict, one of them damaged: two answers, or one and a reason."""
    image = forms.make_slices(1)[0].image
    suffix = pick(random, (".png", ".jpg", ".tif", ".bmp", ".webp"))
    for name in ("a", "b"):
        Image.fromarray(image).save(place / f"{name}{suffix}")
    data, how = damage((place / f"b{suffix}").read_bytes(), random)
    (place / f"b{suffix}").write_bytes(data)

    def act() -> None:
        answers = btjax.predict(run, place)
        assert len(answers) == 2, f"{len(answers)} answers"
        good, bad = answers
        assert good.probabilities is not None
        for answer in (good, bad):
            if answer.probabilities is not None:
                assert abs(sum(answer.probabilities.values()) - 1) < 1e-4
            else:
                assert answer.reason, "no class and no reason"

    return Attack("images to predict", f"{suffix}: {how}", act)


ARRAYS = {
    "NaN": np.full((2, 32, 32, 1), np.nan, np.float32),
    "infinity": np.full((2, 32, 32, 1), np.inf, np.float32),
    "text": np.full((2, 32, 32, 1), "x"),
    "objects": np.full((2, 32, 32, 1), None),
    "complex": np.ones((2, 32, 32, 1), complex),
    "no images": np.zeros((0, 32, 32, 1), np.uint8),
    "one dimension": np.zeros(32, np.uint8),
    "another size": np.zeros((2, 31, 32, 1), np.uint8),
    "five dimensions": np.zeros((2, 1, 32, 32, 1), np.uint8),
    "two channels": np.zeros((2, 32, 32, 2), np.uint8),
    "a list": [[1, 2], [3]],
    "None": None,
    "a number": 7,
    "sound": np.random.default_rng(0).integers(0, 255, (2, 32, 32, 1), np.uint8),
}
TARGETS = ([0, 1], [0, 9], [-1, 0], [1.9, 0.0], [np.nan, 0], ["a", "b"], [0], [], None, [[0, 1]], [True, False])
SIZES = (1, 16, 0, -5, 1.5, "2", None, True, 2**40, np.inf)


def _call(random: Random, run: btjax.Run) -> Attack:
    """Calls of the library with arguments that are none; ValueError and TypeError name a program's mistake."""
    images, targets, size = pick(random, ARRAYS), pick(random, TARGETS), pick(random, SIZES)
    calls = {
        "attribution_maps": lambda: attribution_maps(
            Classifier(run.model, run.variables),
            ARRAYS[images],
            targets,
            jax.random.key(0),
            METHODS["gradient"],
            batch_size=size,
        ),
        "explain": lambda: btjax.explain(run, ARRAYS[images]),
        "predict": lambda: btjax.predict(run, ARRAYS[images]),
        "make_phantom": lambda: btjax.make_phantom(size, pick(random, SIZES[1:]), 32),
        "make_split": lambda: btjax.make_split(
            btjax.make_phantom(6, 1, 32), "patient", size, folds=pick(random, SIZES)
        ),
    }
    name = pick(random, calls)

    def act() -> None:
        try:
            found = calls[name]()
        except (ValueError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            line = str(error)
            assert line and "\n" not in line and "jax" not in line.lower(), line
            raise InputError(line) from None
        if name in ("attribution_maps", "explain"):
            assert np.isfinite(np.asarray(found, np.float32)).all()

    return Attack("calls from Python", f"{name}: {images}, {targets}, {size}"[:80], act)
