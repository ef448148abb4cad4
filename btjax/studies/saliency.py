"""The saliency report: maps scored against the tumour masks, and checked against the network that they explain."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base import options
from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.base.progress import ProgressCallback
from btjax.data.slices import CLASSES
from btjax.runs.run import Run
from btjax.saliency.controls import control_maps
from btjax.saliency.faithfulness import deletion, insertion, max_sensitivity, sensitivity_n
from btjax.saliency.methods import Method, attribution_maps
from btjax.saliency.sanity import cascading_randomisation, map_similarity
from btjax.saliency.scores import SCORES, chance_levels, score_maps
from btjax.studies.explanation import Maps, Permuted, SaliencyConfig, Subject, checked_rows, let_programs_go, maps_of
from btjax.studies.saliency_tables import comparison_rows, lesion_sizes, score_rows

HEADLINE = "average_precision"
"""The score that sorts the tables: it takes the whole map, and no threshold."""

PERMUTED = "permuted labels"
"""Stands for a layer in the rows of a network that was trained on permuted labels."""

_STEPS = 32
_SUBSET = 0.1
_RADIUS = 0.02


_SUBSETS = 64
_NOISES = 4
_PERTURBATIONS = 4


def describe(subject: Subject, config: SaliencyConfig, folder: pathlib.Path) -> dict[str, Any]:
    """What is explained and how, as JSON values, without the places of files: equal values, equal maps.

    Args:
      subject: what is explained.
      config: how.
      folder: the run's.
    """
    run = subject.restored.config.to_json()
    run["data"].pop("data_dir")
    run.get("transfer", {}).pop("weights", None)
    best = Run(folder).checkpoints.progress("best")["best"]
    about = {"run": run, "epoch": best["epoch"], "step": best["step"], "split": subject.split.fingerprint}
    return about | {"composed": subject.origins, "saliency": options.to_dict(config)}


def saliency_report(
    config: SaliencyConfig,
    subject: Subject,
    methods: Sequence[Method],
    maps: Mapping[str, Maps],
    permuted: Permuted | None,
    progress: ProgressCallback | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Everything that is measured of the maps.

    Args:
      config: how much is measured.
      subject: what was explained.
      methods: those of the maps.
      maps: of each method, by name.
      permuted: the same network trained on permuted labels, or None.
      progress: called as `progress(what, methods done, methods in all)`.

    Returns:
      The report as JSON values; and method or control -> score -> float64 [rows], empty where there are no masks.
    """
    tested, values = subject.tested, {}
    report: dict[str, Any] = {
        "protocol": subject.restored.config.data.protocol,
        "test_slices": len(tested),
        "test_patients": None if tested.patients is None else len(np.unique(tested.patients)),
        "classes": list(CLASSES),
        "accuracy": float(np.mean(subject.predicted == tested.labels)),
    }
    if tested.masks is not None:
        tables, values = score_all(subject, maps, config.saliency_seed, progress)
        report |= tables
    report["faithfulness"] = faithfulness(config, subject, methods, maps, progress)
    report["randomisation"] = randomisation(config, subject, methods, maps, permuted, progress)
    return report, values


def score_all(
    subject: Subject, maps: Mapping[str, Maps], seed: int, progress: ProgressCallback | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Scores every method and control against the masks of the test slices.

    Args:
      subject: what was explained; its slices have masks.
      maps: of each method, by name.
      seed: of the random control.
      progress: see `saliency_report`.

    Returns:
      The tables as JSON values (`chance`, `scores`, `controls`, `comparison`, `area_share`, `size_edges`), and
      method or control -> score -> float64 [rows].

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
    patients = _clusters(subject)
    values = {
        name: score_maps(found, tested.masks[rows], area_share=area_share)
        for name, (rows, found) in _counted(maps.items(), "scores", progress)
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
        "scores": _rows(subject, scores),
        "controls": _rows(subject, score_rows(of_controls, patients, groups)),
        "comparison": _rows(subject, comparison),
    }
    return tables, values | of_controls


def faithfulness(
    config: SaliencyConfig,
    subject: Subject,
    methods: Sequence[Method],
    maps: Mapping[str, Maps],
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Whether the maps say what the network does: the measures of `btjax.saliency.faithfulness` on the checked slices.

    `noise` stands beside the methods as their chance level, the mean of some random maps of each slice.
    Max-sensitivity, which makes the maps anew, is not measured of methods of hundreds of passes.

    Returns:
      `slices`, and `rows` as of `btjax.studies.saliency_tables.score_rows`, with the measures for scores.
    """
    rows = checked_rows(config, subject)
    key = random_key(jax.random.key(config.saliency_seed), "faithfulness")
    about = subject.classifier, subject.inputs[rows], subject.predicted[rows]
    shape, batch = (_NOISES, len(rows), *subject.inputs.shape[1:3]), {"batch_size": config.batch_size}
    found = {name: maps_of(known, rows)[None] for name, known in maps.items()}
    found["noise"] = np.asarray(jax.random.uniform(random_key(key, "noise"), shape))
    subset = max(1, round(_SUBSET * found["noise"][0, 0].size))
    removed = {"baseline": subject.black, **batch}
    together = np.concatenate(list(found.values()))
    correlations = sensitivity_n(*about, together, key, sizes=(subset,), subsets=_SUBSETS, **removed)[..., 0]
    values, first = {}, 0
    for name, several in _counted(found.items(), "faithfulness", progress):
        values[name] = {
            "insertion": np.mean([insertion(*about, one, key, steps=_STEPS, **batch) for one in several], axis=0),
            "deletion": np.mean([deletion(*about, one, key, steps=_STEPS, **removed) for one in several], axis=0),
            "sensitivity_n": correlations[first : first + len(several)].mean(axis=0),
        }
        first += len(several)
    radius = _RADIUS * float(np.ptp(subject.inputs))
    cheap = [method for method in methods if method.passes != "hundreds"]
    for method in _counted(cheap, "max-sensitivity", progress):
        moved = max_sensitivity(method.attribute, *about, key, radius=radius, samples=_PERTURBATIONS, **batch)
        values[method.name] |= {"max_sensitivity": moved} if np.isfinite(moved).all() else {}
        let_programs_go()
    clusters = _clusters(subject)[rows]
    measured = [row for name, found in values.items() for row in score_rows({name: found}, clusters)]
    measured = _rows(subject, measured)
    return {"slices": len(rows), "rows": measured}


def randomisation(
    config: SaliencyConfig,
    subject: Subject,
    methods: Sequence[Method],
    maps: Mapping[str, Maps],
    permuted: Permuted | None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """What is left of the maps when the network has learned nothing (Adebayo et al. 2018).

    Layers are made random from the top down; and the network may be one that was trained on permuted labels. Methods of
    one pass that ask the classifier are checked.

    Returns:
      `slices`; of the permuted network `permuted_train_accuracy`; and `rows`, for each method and layer ("trained"
      first, `PERMUTED` last): `similarity` (Spearman with and without sign, SSIM; means) to the trained network's
      maps, the mean `average_precision` against the masks where there are any, and `lost`, by how much that fell, with
      `lost_ci95`, resampled by patient.
    """
    rows, network = checked_rows(config, subject), subject.classifier
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    masks = None if subject.tested.masks is None else subject.tested.masks[rows]
    key = random_key(jax.random.key(config.saliency_seed), "randomisation")
    networks = {
        layer: dataclasses.replace(network, variables=variables)
        for layer, variables in cascading_randomisation(network.model, network.variables, jnp.asarray(inputs[:1]), key)
    }
    if permuted is not None:
        networks[PERMUTED] = permuted.classifier
    found, asked = [], [method for method in methods if method.passes == "one" and method.name not in subject.extra]
    for method in _counted(asked, "randomisation", progress):
        trained = maps_of(maps[method.name], rows)
        before = None if masks is None else SCORES[HEADLINE].function(trained, masks)
        for layer, changed in {"trained": None, **networks}.items():
            left = trained
            if changed is not None:
                left = attribution_maps(changed, inputs, targets, key, method, config.batch_size)
            row = {"method": method.name, "layer": layer}
            row |= {name: float(np.mean(values)) for name, values in map_similarity(trained, left).items()}
            if masks is not None:
                after = SCORES[HEADLINE].function(left, masks)
                lost = score_rows({method.name: {HEADLINE: before - after}}, _clusters(subject)[rows])[0]
                row |= {HEADLINE: float(np.mean(after)), "lost": lost["mean"], "lost_ci95": lost["ci95"]}
            found.append(row)
        let_programs_go()
    accuracy = {} if permuted is None else {"permuted_train_accuracy": permuted.train_accuracy}
    return {"slices": len(rows), "rows": found} | accuracy


def _counted(items: Collection, what: str, progress: ProgressCallback | None) -> Iterator:
    """The items, of which `progress` is told as they are done."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(what, done, len(items))


def _clusters(subject: Subject) -> np.ndarray:
    """What is resampled together: patients, or slices where the data set does not know them."""
    return subject.tested.ids if subject.tested.patients is None else subject.tested.patients


def _rows(subject: Subject, rows: list[dict]) -> list[dict]:
    """Rows of a table, without a number of patients where the data set does not know them."""
    return rows if subject.tested.patients is not None else [row | {"patients": None} for row in rows]
