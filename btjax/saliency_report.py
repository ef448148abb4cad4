"""Saliency of a trained classifier: maps of its test slices by every method, scored against the tumour masks."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.data.slices import CLASSES, Slices
from btjax.data.splits import Split
from btjax.errors import InputError
from btjax.models.compose import AUTOENCODER
from btjax.options import option
from btjax.runs import Restored, restore
from btjax.saliency.classifier import Classifier
from btjax.saliency.controls import control_maps
from btjax.saliency.faithfulness import deletion, insertion
from btjax.saliency.methods import Method, attribution_maps, find_methods
from btjax.saliency.sanity import cascading_randomisation, map_similarity
from btjax.saliency.scores import SCORES, chance_levels, score_maps
from btjax.saliency.tables import comparison_rows, lesion_sizes, score_rows
from btjax.saliency.unet import final_output, output_difference
from btjax.training.state import random_key
from btjax.unet_report import load_composed

_RANDOMISED = ("gradient", "guided_backprop", "grad_cam")
_BASELINES = 16


@dataclasses.dataclass(frozen=True)
class SaliencyConfig:
    """What is explained, and how much of it."""

    methods: tuple[str, ...] = option(("all",), "saliency methods by name, or all")
    layer: str = option("", "layer of the class activation maps; empty for the last convolution of at least 4x4")
    costly_slices: int = option(48, "test slices for methods of hundreds of passes, drawn by class", minimum=3)
    checked_slices: int = option(24, "test slices for insertion, deletion and randomisation, drawn by class", minimum=3)
    batch_size: int = option(16, "slices at a time", minimum=1)
    saliency_seed: int = option(0, "seed of noise, masks, baselines and of the drawn slices", minimum=0)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
      restored: the classifier's run.
      classifier: its network.
      extra: attributions of the run's own, such as the final U-Net's output, by name.
      tested: the test slices.
      trained: the training slices.
      inputs: float32 [N, S, S, C], the network's inputs of the test slices.
      predicted: int [N], the class with the highest logit, which is what is explained.
      black: float32 [S, S, C], the network's input of a black slice.
    """

    restored: Restored
    classifier: Classifier
    extra: dict[str, Callable]
    tested: Slices
    trained: Slices
    inputs: np.ndarray
    predicted: np.ndarray
    black: np.ndarray


def open_subject(folder: pathlib.Path, slices: Slices, split: Split, restored: Restored) -> Subject:
    """Makes a run ready to be explained.

    Args:
      folder: the run's folder; for the U-Net's classifier the composed final model beside it gives two more methods.
      slices: the data set.
      split: the run's split.
      restored: the run's model.
    """
    prepare = jax.jit(restored.config.preprocessing)
    tested = slices.take(split.test)
    inputs = np.asarray(prepare(tested.images))
    extra = {}
    if (folder.parent / "composed" / "origins.json").exists():
        autoencoder = restore(folder.parent / AUTOENCODER)
        final = load_composed(folder.parent, "final")
        extra = {
            "final_output": final_output(autoencoder.model, final),
            "final_difference": output_difference(autoencoder.model, final, autoencoder.variables),
        }
    return Subject(
        restored=restored,
        classifier=Classifier(restored.model, {name: tree for name, tree in restored.variables.items() if tree}),
        extra=extra,
        tested=tested,
        trained=slices.take(split.train),
        inputs=inputs,
        predicted=restored.logits(tested.images).argmax(axis=1),
        black=np.asarray(prepare(np.zeros_like(tested.images[:1])))[0],
    )


def chosen_methods(config: SaliencyConfig, subject: Subject) -> list[Method]:
    """The methods, bound to the run: what stands for "nothing there" is its input of a black slice.

    A method that does not fit the model is left out under "all", and an error where it was named.

    Raises:
      InputError: an unknown method or layer, or a method that does not fit the model.
    """
    random = np.random.default_rng(config.saliency_seed)
    rows = random.choice(len(subject.trained), min(_BASELINES, len(subject.trained)), replace=False)
    baselines = np.asarray(jax.jit(subject.restored.config.preprocessing)(subject.trained.images[rows]))
    binding = {"expected_gradients": {"baselines": jnp.asarray(baselines)}}
    for name in ("integrated_gradients", "occlusion", "rise", "score_cam"):
        binding[name] = {"baseline": jnp.asarray(subject.black)}
    if config.layer:
        for name in ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam"):
            binding[name] = binding.get(name, {}) | {"layer": config.layer}
    chosen = []
    shapes = jax.ShapeDtypeStruct((1, *subject.inputs.shape[1:]), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    for method in find_methods(config.methods):
        bound = method.bind(**binding[method.name]) if method.name in binding else method
        try:
            jax.eval_shape(functools.partial(bound.attribute, subject.classifier), *shapes, jax.random.key(0))
        except InputError:
            if "all" not in config.methods or config.layer:
                raise
            continue
        chosen.append(bound)
    own = [Method(name, attribute, "the composed U-Net's", "the paper") for name, attribute in subject.extra.items()]
    return chosen + (own if "all" in config.methods else [])


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Row numbers, sorted: `count` in all (or all there are), as equally from each label as its rows allow."""
    random = np.random.default_rng(seed)
    queues = [list(random.permutation(np.flatnonzero(labels == label))) for label in np.unique(labels)]
    taken = []
    while len(taken) < min(count, len(labels)):
        taken += [queue.pop() for queue in queues if queue]
    return np.sort(np.array(taken[:count], np.int64))


def compute_maps(
    config: SaliencyConfig, subject: Subject, method: Method, folder: pathlib.Path
) -> tuple[np.ndarray, np.ndarray]:
    """The maps of a method: of every test slice, or of a drawn part for a costly one; kept in `folder`.

    Returns:
      (row numbers among the test slices, float32 [rows, S, S])
    """
    rows = np.arange(len(subject.tested))
    if method.costly:
        rows = stratified(subject.tested.labels, config.costly_slices, config.saliency_seed)
    path = folder / f"{method.name}.npy"
    if path.exists():
        return rows, np.load(path)
    key = random_key(jax.random.key(config.saliency_seed), method.name)
    maps = attribution_maps(
        subject.classifier, subject.inputs[rows], subject.predicted[rows], key, method, config.batch_size
    )
    beside = path.with_suffix(".part")
    with open(beside, "wb") as file:
        np.save(file, maps)
    beside.replace(path)
    return rows, maps


def score_all(
    subject: Subject, maps: Mapping[str, tuple[np.ndarray, np.ndarray]], seed: int
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Scores every method and control against the masks of the test slices.

    Args:
      subject: what was explained; its slices have masks.
      maps: method -> (row numbers, maps).
      seed: of the random control.

    Returns:
      The tables as JSON values (`chance`, `scores`, `controls`, `comparison`, `area_share`, `size_edges`), and
      method -> score -> float64 [rows].

    Raises:
      InputError: the data set has no masks.
    """
    tested = subject.tested
    if tested.masks is None:
        raise InputError("scores need masks, which this form of the data set has not")
    area_share = float(subject.trained.masks.mean())
    controls = control_maps(tested.images, subject.predicted, subject.trained.masks, subject.trained.labels, seed=seed)
    of_controls = {name: score_maps(found, tested.masks, area_share=area_share) for name, found in controls.items()}
    sizes, edges = lesion_sizes(tested.masks.mean(axis=(1, 2)))
    groups = {"class": np.array(CLASSES)[tested.labels], "size": sizes}
    if tested.planes is not None:
        groups["plane"] = tested.planes
    patients = tested.patients if tested.patients is not None else tested.ids
    values = {
        name: score_maps(found, tested.masks[rows], area_share=area_share) for name, (rows, found) in maps.items()
    }
    scores, comparison = [], []
    for name, (rows, _) in maps.items():
        part = {group: column[rows] for group, column in groups.items()}
        beside = {control: {s: v[rows] for s, v in each.items()} for control, each in of_controls.items()}
        scores += score_rows({name: values[name]}, patients[rows], part)
        comparison += comparison_rows({name: values[name]}, beside, patients[rows], part)
    chance = {name: float(np.mean(v)) for name, v in chance_levels(tested.masks, area_share=area_share).items()}
    tables = {
        "area_share": area_share,
        "size_edges": edges,
        "chance": chance,
        "directions": {name: "higher" if score.higher_is_better else "lower" for name, score in SCORES.items()},
        "scores": scores,
        "controls": score_rows(of_controls, patients, groups),
        "comparison": comparison,
    }
    return tables, values


def faithfulness(config: SaliencyConfig, subject: Subject, maps) -> dict[str, dict[str, float]]:
    """Mean insertion and deletion areas of every method on the same drawn slices (those of the costly methods)."""
    rows = stratified(subject.tested.labels, config.costly_slices, config.saliency_seed)[: config.checked_slices]
    key = random_key(jax.random.key(config.saliency_seed), "faithfulness")
    found = {}
    for name, (known, values) in maps.items():
        part = values[np.searchsorted(known, rows)]
        settings = (subject.classifier, subject.inputs[rows], subject.predicted[rows], part, key)
        found[name] = {
            "insertion": float(insertion(*settings, steps=32).mean()),
            "deletion": float(deletion(*settings, steps=32, baseline=subject.black).mean()),
        }
    return found


def randomisation(config: SaliencyConfig, subject: Subject, methods: list[Method]) -> list[dict[str, Any]]:
    """What is left of the maps when layers are made random, from the top down (Adebayo et al. 2018).

    Returns:
      A row for each method and layer (and "trained" first): `similarity` (Spearman, with and without sign, and SSIM,
      means) to the trained network's maps, and the mean `average_precision` against the masks where there are any.
    """
    rows = stratified(subject.tested.labels, config.checked_slices, config.saliency_seed)
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    masks = None if subject.tested.masks is None else subject.tested.masks[rows]
    key = random_key(jax.random.key(config.saliency_seed), "randomisation")
    network = subject.classifier
    stages = [("trained", network.variables)]
    stages += cascading_randomisation(network.model, network.variables, jnp.asarray(inputs[:1]), key)
    found = []
    for method in [method for method in methods if method.name in _RANDOMISED]:
        trained = None
        for layer, variables in stages:
            changed = dataclasses.replace(network, variables=variables)
            maps = attribution_maps(changed, inputs, targets, key, method, config.batch_size)
            trained = maps if trained is None else trained
            row = {"method": method.name, "layer": layer}
            row |= {name: float(np.mean(values)) for name, values in map_similarity(trained, maps).items()}
            if masks is not None:
                score = SCORES["average_precision"].function(maps, masks)
                row["average_precision"] = float(np.mean(score))
            found.append(row)
    return found
