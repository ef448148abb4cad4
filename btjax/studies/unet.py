"""The U-Net's composed models scored on its test slices, and what its Figures 7 to 14 are drawn from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.batches import in_batches
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.evaluation.reconstruction import (
    LatentEffect,
    ReconstructionScores,
    latent_experiments,
    reconstruction_scores,
    summarise,
)
from btjax.models.compose import FRESH, compose_left, compose_right
from btjax.runs.run import Run, restore
from btjax.saliency.classifier import Classifier
from btjax.saliency.gradients import gradient
from btjax.studies.composed import AUTOENCODER, CLASSIFIER, COMPOSED, fresh_right, load_composed, right_model
from btjax.studies.origins import check_made_of
from btjax.training.loop import kept_name
from btjax.training.step import make_predict

if TYPE_CHECKING:
    import pathlib

    from flax import linen as nn

    from btjax.readers.slices import Slices
    from btjax.studies.data import Divided
    from btjax.systems.config import Config

SCHEMA = 2
CONFUSION_EPOCHS = (10, 20, 40, 50, 160)
"""The epochs of the paper's Figure 12."""

RIGHT_DRAWS = 5
"""Fresh colorers of the right model: one draw says little."""

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Location:
    """The frozen location kernel, and its sum: the gain of a grey input, for which a sum near 0 would leave nothing."""

    kernel: tuple[float, ...]
    sum: float


@dataclasses.dataclass(frozen=True)
class Spread:
    """Standard deviation of the mean scores over the draws of what is fresh in a model."""

    draws: int
    mae: float
    psnr: float
    ssim: float


@dataclasses.dataclass(frozen=True)
class UNetReport:
    """What the U-Net's experiment found on its test slices.

    Attributes:
      schema: `SCHEMA`.
      protocol: of the split.
      data: the data set's form in words.
      test_slices: how many.
      reconstruction: of the autoencoder's best epoch.
      final: of the final U-Net, whose encoder was trained to classify.
      by_epoch: model (full, right, left) -> kept epoch -> scores; of the right model the means over its draws.
      right_spread: kept epoch -> spread of the right model's scores over its draws.
      latent: of the autoencoder, by the part of its input that is replaced.
      final_latent: the same of the final U-Net.
      location: the frozen kernel.
      confusion_by_epoch: kept epoch of the classifier -> confusion matrix of the held-out rows.
      classes: their names.
      config: of the autoencoder, without the place of the data.
    """

    schema: int
    protocol: str
    data: str
    test_slices: int
    reconstruction: ReconstructionScores
    final: ReconstructionScores
    by_epoch: dict[str, dict[int, ReconstructionScores]]
    right_spread: dict[int, Spread]
    latent: dict[str, LatentEffect]
    final_latent: dict[str, LatentEffect]
    location: Location
    confusion_by_epoch: dict[int, tuple[tuple[int, ...], ...]]
    classes: tuple[str, ...]
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class UNetPictures:
    """Arrays that the figures show.

    Attributes:
      by_epoch: model -> kept epoch -> output of one slice, float32 [S, S, 3].
      rows: numbers of the test slices of Figures 13 and 14: the first and the second of each class.
      inputs, full, final: float32 [rows, S, S, C], the slices, the U-Net's and the final U-Net's outputs.
      gradients: float32 [rows, S, S], the gradient maps of the classifier's predictions.
      predicted: int [rows], these predictions.
    """

    by_epoch: dict[str, dict[int, np.ndarray]]
    rows: tuple[np.ndarray, np.ndarray]
    inputs: dict[int, np.ndarray]
    full: dict[int, np.ndarray]
    final: dict[int, np.ndarray]
    gradients: dict[int, np.ndarray]
    predicted: dict[int, int]


class Parts:
    """The trained and composed models of an experiment's folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Restores them; InputError where a stage is missing, or was made from others than are there now."""
        self.autoencoder, self.classifier = restore(folder / AUTOENCODER), restore(folder / CLASSIFIER)
        runs = {AUTOENCODER: self.autoencoder, CLASSIFIER: self.classifier}
        check_made_of(folder / COMPOSED, runs, "compose")
        self.composed = {name: load_composed(folder, name) for name in ("final", "left", "right")}
        right = read_json(folder / COMPOSED / "origins.json")["right"]
        self.fresh_colorer = any(origin == FRESH for path, origin in right.items() if "/colorer/" in path)

    def predictor(self, model: nn.Module | None = None) -> Any:
        """`predict(variables, images) -> outputs` of the autoencoder, or of a model that takes its inputs."""
        task = self.autoencoder.config.task()
        predict = make_predict(task if model is None else dataclasses.replace(task, model=model))  # type: ignore[type-var]
        return lambda variables, images: predict(variables, images, _BATCH)


def check_figures(config: Config, tested: Slices) -> None:
    """Checks, before hours of training, that there will be enough for the figures.

    Raises:
      InputError: test slices of one class alone, or no epoch of a stage that is kept.
    """
    figure_rows(tested)
    every, epochs = config.training.keep_every, config.training.epochs
    last = config.extra.classifier_epochs // 2  # the classifier keeps every other of these
    if not 1 <= every <= min(epochs, last):
        raise InputError(
            f"--keep_every={every}: the figures show kept epochs of both stages; expected 1 to {min(epochs, last)} "
            f"for --epochs={epochs} and --classifier_epochs={config.extra.classifier_epochs}"
        )


def figure_rows(tested: Slices) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the first and of the second test slice of each class.

    A class with one test slice gives that one twice, a class without any gives none.

    Raises:
      InputError: test slices of one class alone.
    """
    places = [np.flatnonzero(tested.labels == label) for label in range(len(tested.classes))]
    places = [found for found in places if len(found)]
    if len(places) < 2:
        raise InputError(
            f"the U-Net's report pairs test slices of two classes, found {len(places)} among {sum(map(len, places))} "
            "test slices; expected a larger data set, or another --fold or --seed"
        )
    return np.array([found[0] for found in places]), np.array([found[min(1, len(found) - 1)] for found in places])


def unet_report(folder: pathlib.Path, data: Divided) -> tuple[UNetReport, UNetPictures]:
    """Scores every model of an experiment's folder on the test rows.

    Args:
      folder: its three first stages are done.
      data: slices and split of its runs.

    Raises:
      InputError: a stage that is missing, or test slices of one class alone.
    """
    parts, tested = Parts(folder), data.tested
    rows = figure_rows(tested)
    config = parts.autoencoder.config
    inputs = in_batches(jax.jit(config.preprocessing), _BATCH, tested.images)
    predict = parts.predictor()
    full = predict(parts.autoencoder.variables, tested.images)
    final = predict(parts.composed["final"], tested.images)

    def means(outputs: np.ndarray) -> ReconstructionScores:
        return summarise(reconstruction_scores(outputs, inputs), patients=tested.patients)

    by_epoch, spread, pictures = _by_epoch(parts, tested, inputs)
    values = config.to_json()
    report = UNetReport(
        schema=SCHEMA,
        protocol=data.split.protocol,
        data=data.form,
        test_slices=len(tested),
        reconstruction=means(full),
        final=means(final),
        by_epoch=by_epoch,
        right_spread=spread,
        latent=_latent_effects(parts.autoencoder, parts.autoencoder.variables, tested, inputs),
        final_latent=_latent_effects(parts.autoencoder, parts.composed["final"], tested, inputs),
        location=_location(parts.autoencoder),
        confusion_by_epoch=_confusions(parts.classifier, data),
        classes=data.slices.classes,
        config=values | {"data": {name: value for name, value in values["data"].items() if name != "data_dir"}},
    )
    arrays = {"inputs": inputs, "full": full, "final": final}
    return report, _pictures(parts, pictures, rows, arrays)


def _pictures(
    parts: Parts, by_epoch: dict, rows: tuple[np.ndarray, np.ndarray], arrays: dict[str, np.ndarray]
) -> UNetPictures:
    """What Figures 13 and 14 show of some rows of the test slices."""
    shown = np.concatenate(rows)
    inputs = jnp.asarray(arrays["inputs"][shown])
    network = Classifier(parts.classifier.model, parts.classifier.variables)
    predicted = np.asarray(jnp.argmax(network(inputs), axis=-1))
    maps = np.asarray(gradient(network, inputs, jnp.asarray(predicted), jax.random.key(0)))
    return UNetPictures(
        by_epoch=by_epoch,
        rows=rows,
        **{name: dict(zip(shown.tolist(), array[shown], strict=True)) for name, array in arrays.items()},
        gradients=dict(zip(shown.tolist(), maps, strict=True)),
        predicted=dict(zip(shown.tolist(), predicted.tolist(), strict=True)),
    )


def kept_epochs(run: Run) -> list[int]:
    """The epochs whose variables a run has kept."""
    names = (path.name.removeprefix("epoch_") for path in (run.folder / "checkpoints").glob("epoch_*"))
    return sorted(int(name) for name in names)


def _by_epoch(parts: Parts, tested: Slices, inputs: np.ndarray) -> tuple[dict, dict[int, Spread], dict]:
    """Scores of the full, right and left outputs after each kept epoch, and each model's output of one slice.

    The left and right models after an epoch are those of that epoch's autoencoder; what is fresh stays the same.
    """
    autoencoder, chosen = parts.autoencoder, len(tested) // 2
    predict = {"full": parts.predictor(), "right": parts.predictor(right_model(autoencoder))}
    predict["left"] = predict["full"]
    scores, pictures = ({name: {} for name in ("full", "right", "left")} for _ in range(2))
    spread = {}
    for epoch in kept_epochs(autoencoder):
        variables, _ = autoencoder.checkpoints.load(kept_name(epoch), autoencoder.variables)
        each = {
            "full": [variables],
            "right": _right_draws(parts, variables),
            "left": [compose_left(variables, parts.composed["left"])[0]],
        }
        for name, several in each.items():
            outputs = [predict[name](one, tested.images) for one in several]
            values = [reconstruction_scores(output, inputs) for output in outputs]
            mean = {score: np.mean([value[score] for value in values], axis=0) for score in values[0]}
            scores[name][epoch] = summarise(mean, patients=tested.patients)
            pictures[name][epoch] = outputs[0][chosen]
            if name == "right":
                draws = {score: np.array([value[score].mean() for value in values]) for score in values[0]}
                deviations = {score: float(np.std(draw, ddof=min(1, len(draw) - 1))) for score, draw in draws.items()}
                spread[epoch] = Spread(len(several), **deviations)
    return scores, spread, pictures


def _right_draws(parts: Parts, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """The right model with the composed colorer and with further fresh ones; one where the colorer is not fresh."""
    seed = parts.autoencoder.config.seed
    if not parts.fresh_colorer:
        return [compose_right(variables, parts.composed["right"], AUTOENCODER)[0]]
    fresh = [parts.composed["right"]]
    fresh += [fresh_right(parts.autoencoder, seed, draw) for draw in range(1, RIGHT_DRAWS)]
    return [compose_right(variables, one)[0] for one in fresh]


def _latent_effects(
    autoencoder: Run, variables: dict[str, Any], tested: Slices, inputs: np.ndarray
) -> dict[str, LatentEffect]:
    """See `latent_experiments`; of the autoencoder's model with these variables."""
    model = autoencoder.model
    encode = jax.jit(lambda inputs: model.apply(variables, inputs, method="encode"))
    decode = jax.jit(lambda latent, inputs: model.apply(variables, latent, inputs, method="decode"))
    return latent_experiments(
        lambda latents, inputs: in_batches(decode, _BATCH, latents, inputs),
        in_batches(encode, _BATCH, inputs),
        inputs,
        np.asarray(tested.labels),
        patients=tested.patients,
    )


def _location(autoencoder: Run) -> Location:
    kernel = np.asarray(autoencoder.variables["params"]["location"]["kernel"]).ravel()
    return Location(tuple(kernel.tolist()), float(kernel.sum()))


def _confusions(classifier: Run, data: Divided) -> dict[int, tuple[tuple[int, ...], ...]]:
    """Confusion matrices of the held-out rows after the epochs of Figure 12 that the run has kept, and the last."""
    from sklearn.metrics import confusion_matrix

    predict = make_predict(classifier.config.task())
    rows = np.concatenate([data.split.validation, data.split.test])
    kept, matrices = kept_epochs(classifier), {}
    for epoch in [epoch for epoch in kept if epoch in CONFUSION_EPOCHS or epoch == kept[-1]]:
        variables, _ = classifier.checkpoints.load(kept_name(epoch), classifier.variables)
        predicted = predict(variables, data.slices.images[rows], _BATCH).argmax(axis=1)
        labels = np.arange(len(data.slices.classes))
        matrix = confusion_matrix(data.labels[rows], predicted, labels=labels)
        matrices[epoch] = tuple(map(tuple, matrix.tolist()))
    return matrices
