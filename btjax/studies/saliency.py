"""Maps scored against the tumour masks, and checked against the network that they explain."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base import options
from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.evaluation.comparison import difference_interval
from btjax.evaluation.intervals import METHOD, Clusters
from btjax.saliency.controls import control_maps
from btjax.saliency.faithfulness import deletion, insertion, max_sensitivity, sensitivity_n
from btjax.saliency.maps import attribution_maps
from btjax.saliency.methods import Method, jointly
from btjax.saliency.sanity import cascading_randomisation, similarity_to
from btjax.saliency.scores import SCORES, chance_levels, count_zero_maps, score_maps
from btjax.studies.maps import Maps, let_programs_go, maps_of
from btjax.studies.saliency_rows import (
    SCHEMA,
    Faithfulness,
    Localisation,
    Randomisation,
    RandomisationRow,
    SaliencyReport,
)
from btjax.studies.saliency_tables import comparison_rows, lesion_sizes, score_rows
from btjax.studies.subject import Permuted, SaliencyConfig, Subject, checked_rows, placed
from btjax.systems.config import Config

if TYPE_CHECKING:
    from btjax.base.progress import ProgressCallback

HEADLINE = "average_precision"
"""The score that sorts the tables: it takes the whole map, and no threshold."""

PERMUTED = "permuted labels"
"""Stands for a stage in the rows of a network that was trained on permuted labels."""

Values = Mapping[str, Mapping[str, np.ndarray]]
"""Method or control -> score -> float64, one value for each slice that it was scored on."""

_STEPS = 32
_SUBSET = 0.1
_RADIUS = 0.02
_SUBSETS = 64
_NOISES = 4
_PERTURBATIONS = 4


@dataclasses.dataclass(frozen=True)
class Explained:
    """A subject with the maps of its decisions.

    Attributes:
      config: how much is measured.
      subject: what was explained.
      methods: those of the maps.
      maps: of each method, by name.
      permuted: the same network trained on permuted labels, or None.
    """

    config: SaliencyConfig
    subject: Subject
    methods: Sequence[Method]
    maps: Mapping[str, Maps]
    permuted: Permuted | None = None


def settings(subject: Subject, config: SaliencyConfig) -> dict[str, Any]:
    """What is explained and how, as JSON values, without the places of files: equal values, equal maps."""
    run = _without_places(subject.run.config)
    best = subject.run.checkpoints.progress("best")["best"]
    about = {"run": run, "epoch": best["epoch"], "step": best["step"], "split": subject.data.split.fingerprint}
    return about | {"composed": subject.origins, "saliency": options.to_dict(config)}


def with_newer_options(settings: Any) -> Any:
    """Settings as they were kept, with the defaults of options of the run that came later; others as they are."""
    try:
        return settings | {"run": _without_places(Config.from_json(settings["run"], "settings.json"))}
    except (InputError, LookupError, TypeError):
        return settings


def _without_places(config: Config) -> dict[str, Any]:
    """A config's JSON values without the places of files."""
    values = config.to_json()
    values["data"].pop("data_dir")
    values.get("extra", {}).pop("weights", None)
    return values


def saliency_report(
    explained: Explained, left_out: dict[str, str], progress: ProgressCallback | None = None
) -> tuple[SaliencyReport, Values]:
    """Everything that is measured of the maps.

    Args:
      explained: subject and maps.
      left_out: methods that do not fit the model, with the reason.
      progress: called as `progress(what, methods done, methods in all)`.

    Returns:
      The report; and the scores of every slice, empty where there are no masks.
    """
    subject, tested = explained.subject, explained.subject.tested
    # The controls and the area that a map selects need tumours among the training slices too.
    sides = (tested.masks, subject.trained.masks)
    scorable = all(masks is not None and _scorable(masks).any() for masks in sides)
    localised, values = localisation(explained, progress) if scorable else (None, {})
    zeros = {name: count_zero_maps(found) for name, (_, found) in explained.maps.items()}
    report = SaliencyReport(
        schema=SCHEMA,
        **settings(subject, explained.config),
        data=subject.data.form,
        left_out=left_out,
        protocol=subject.run.config.data.protocol,
        test_slices=len(tested),
        test_patients=None if tested.patients is None else len(np.unique(tested.patients)),
        classes=subject.run.classes,
        accuracy=float(np.mean(subject.predicted == subject.labels)),
        zero_maps={name: count for name, count in zeros.items() if count},
        localisation=localised,
        faithfulness=faithfulness(explained, progress),
        randomisation=randomisation(explained, progress),
        intervals=METHOD,
    )
    return report, values


def localisation(explained: Explained, progress: ProgressCallback | None = None) -> tuple[Localisation, Values]:
    """Scores every method and control against the masks of the test slices.

    Slices whose mask is empty, as where there is no tumour, cannot be scored and are counted.

    Raises:
      ValueError: the data set has no masks.
    """
    subject = explained.subject
    tested, masks = subject.tested, subject.tested.masks
    if masks is None or subject.trained.masks is None:
        raise ValueError("scores need masks, which this form of the data set does not have")
    scored = _scorable(masks)
    area_share = float(subject.trained.masks[_scorable(subject.trained.masks)].mean())
    seed = explained.config.saliency_seed
    trained_labels = subject.data.labels[subject.data.split.train]
    controls = control_maps(tested.images, subject.predicted, subject.trained.masks, trained_labels, seed=seed)
    of_controls = {
        name: score_maps(found[scored], masks[scored], area_share=area_share) for name, found in controls.items()
    }
    sizes, edges = lesion_sizes(masks[scored].mean(axis=(1, 2)))
    groups = {name: column[scored] for name, column in slice_groups(subject).items()} | {"size": sizes}
    values: dict[str, dict[str, np.ndarray]] = {}
    scores, comparison = [], []
    places = np.cumsum(scored) - 1  # a test slice's place among the scored ones
    for name, (rows, found) in _counted(explained.maps.items(), "scores", progress):
        kept = scored[rows]
        if not kept.any():  # of the few slices that a costly method explains none need have a tumour
            continue
        part = places[rows[kept]]
        values[name] = score_maps(found[kept], masks[rows[kept]], area_share=area_share)
        patients, columns = subject.clusters[rows[kept]], {group: column[part] for group, column in groups.items()}
        beside = {control: {s: v[part] for s, v in each.items()} for control, each in of_controls.items()}
        scores += score_rows({name: values[name]}, patients, columns)
        comparison += comparison_rows({name: values[name]}, beside, patients, columns)
    report = Localisation(
        area_share=area_share,
        size_edges=edges,
        chance={name: float(v.mean()) for name, v in chance_levels(masks[scored], area_share=area_share).items()},
        directions={name: "higher" if score.higher_is_better else "lower" for name, score in SCORES.items()},
        scores=_known(subject, scores),
        controls=_known(subject, score_rows(of_controls, subject.clusters[scored], groups)),
        comparison=_known(subject, comparison),
        without_mask=int(np.sum(~scored)),
    )
    return report, values | of_controls


def slice_groups(subject: Subject) -> dict[str, np.ndarray]:
    """What divides the test slices, str [N] by group: class, correctness of the decision, and plane where it is known.

    A map explains the predicted class, also where the network is wrong: there it need not lie on the tumour.
    """
    groups = {
        "class": np.array(subject.run.classes)[subject.labels],
        "correctness": np.where(subject.predicted == subject.labels, "correct", "wrong"),
    }
    return groups if subject.tested.planes is None else groups | {"plane": subject.tested.planes}


def faithfulness(explained: Explained, progress: ProgressCallback | None = None) -> Faithfulness:
    """Whether the maps say what the network does: the measures of `btjax.saliency.faithfulness`, on some slices.

    `noise` stands beside the methods as their chance level, the mean of some random maps of each slice.
    Max-sensitivity, which computes the maps again, is not measured for methods of hundreds of passes.
    """
    config, subject = explained.config, explained.subject
    rows = checked_rows(config, subject)
    key = random_key(jax.random.key(config.saliency_seed), "faithfulness")
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    found = {name: maps_of(known, rows)[None] for name, known in explained.maps.items()}
    shape = (_NOISES, len(rows), *inputs.shape[1:3])
    found["noise"] = np.asarray(jax.random.uniform(random_key(key, "noise"), shape))
    batch = {"batch_size": config.batch_size}
    removed = {"baseline": subject.baselines(config)[rows], **batch}
    subset = max(1, round(_SUBSET * found["noise"][0, 0].size))
    correlations = sensitivity_n(
        subject.classifier, inputs, targets, np.concatenate(list(found.values())), key,
        sizes=(subset,), subsets=_SUBSETS, **removed,
    )[..., 0]  # fmt: skip
    values, first = {}, 0
    for name, several in _counted(found.items(), "faithfulness", progress):
        values[name] = {
            "insertion": np.mean(
                [insertion(subject.classifier, inputs, targets, one, key, steps=_STEPS, **batch) for one in several],
                axis=0,
            ),
            "deletion": np.mean(
                [deletion(subject.classifier, inputs, targets, one, key, steps=_STEPS, **removed) for one in several],
                axis=0,
            ),
            "sensitivity_n": correlations[first : first + len(several)].mean(axis=0),
        }
        first += len(several)
    for name, moved in _sensitivities(explained, rows, key, progress):
        values[name]["max_sensitivity"] = moved
    measured = [row for name, each in values.items() for row in score_rows({name: each}, subject.clusters[rows])]
    return Faithfulness(len(rows), _known(subject, measured))


def _sensitivities(
    explained: Explained, rows: np.ndarray, key: jax.Array, progress: ProgressCallback | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Max-sensitivity of each method for which it is finite, by name."""
    config, subject = explained.config, explained.subject
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    radius = _RADIUS * float(np.ptp(subject.inputs))
    cheap = [method for method in explained.methods if method.passes != "hundreds"]
    for joint in _counted(jointly(cheap), "max-sensitivity", progress):
        moved = max_sensitivity(
            joint.attribute, subject.classifier, inputs, targets, key,
            radius=radius, samples=_PERTURBATIONS, batch_size=config.batch_size,
            baselines=subject.baselines(config)[rows] if joint.takes_baseline else None,
        )  # fmt: skip
        yield from ((name, values) for name, values in moved.items() if np.isfinite(values).all())
        let_programs_go()


def randomisation(explained: Explained, progress: ProgressCallback | None = None) -> Randomisation:
    """What is left of the maps when the network has learned nothing (Adebayo et al. 2018).

    Stages are made random from the top down; and the network may be one that was trained on permuted labels. Methods of
    one pass that ask the classifier are checked.
    """
    config, subject, permuted = explained.config, explained.subject, explained.permuted
    rows, network = checked_rows(config, subject), subject.classifier
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    key = random_key(jax.random.key(config.saliency_seed), "randomisation")
    networks = {
        stage: dataclasses.replace(network, variables=placed(variables))
        for stage, variables in cascading_randomisation(network.model, network.variables, jnp.asarray(inputs[:1]), key)
    }
    if permuted is not None:
        networks[PERMUTED] = permuted.classifier
    found = []
    asked = [one for one in explained.methods if one.passes == "one" and one.name not in subject.extra]
    for method in _counted(asked, "randomisation", progress):
        trained = maps_of(explained.maps[method.name], rows)
        compare = similarity_to(trained)
        found.append(_randomisation_row(subject, rows, (method.name, "trained"), (trained, trained), compare(trained)))
        for stage, changed in networks.items():
            left = attribution_maps(changed, inputs, targets, key, method, batch_size=config.batch_size)
            found.append(_randomisation_row(subject, rows, (method.name, stage), (trained, left), compare(left)))
        let_programs_go()
    return Randomisation(len(rows), tuple(found), None if permuted is None else permuted.train_accuracy)


def _randomisation_row(
    subject: Subject,
    rows: np.ndarray,
    name: tuple[str, str],
    maps: tuple[np.ndarray, np.ndarray],
    similarity: Mapping[str, np.ndarray],
) -> RandomisationRow:
    """The row of a method and stage: similarity of the maps before and after, and what the score lost."""
    (method, stage), (before, after) = name, maps
    similar: dict[str, Any] = {name: float(np.mean(values)) for name, values in similarity.items()}
    masks = subject.tested.masks
    scored = np.zeros(len(rows), bool) if masks is None else _scorable(masks[rows])
    if masks is None or not scored.any():
        return RandomisationRow(method, stage, **similar)
    precision = SCORES[HEADLINE].function
    kept = masks[rows[scored]]
    left = precision(after[scored], kept)
    lost = difference_interval(precision(before[scored], kept) - left, Clusters.of(subject.clusters[rows[scored]]))
    return RandomisationRow(
        method, stage, **similar, average_precision=float(np.mean(left)), lost=lost.value, lost_ci95=lost.ci95
    )


def _scorable(masks: np.ndarray) -> np.ndarray:
    """Which masks, bool [N, S, S], have tumour and background: bool [N]."""
    return np.logical_and(np.any(masks, axis=(1, 2)), np.logical_not(np.all(masks, axis=(1, 2))))


def _counted(items: Collection, what: str, progress: ProgressCallback | None) -> Iterator:
    """The items, of which `progress` is told as they are done."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(what, done, len(items))


def _known(subject: Subject, rows: Sequence[Any]) -> tuple[Any, ...]:
    """Rows of a table, without a number of patients where the data set does not know them."""
    if subject.tested.patients is not None:
        return tuple(rows)
    return tuple(dataclasses.replace(row, patients=None) for row in rows)
