"""A run: its config, its trained model, its predictions and its report, read when they are asked for."""

from __future__ import annotations

import functools
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.batches import in_batches, whole_number
from btjax.base.devices import require_devices
from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.base.objects import load_objects, save_objects
from btjax.features.heads import Head, load_head
from btjax.runs.folder import KEPT, RunFolder
from btjax.runs.outlines import Outlines, find_outlines
from btjax.runs.predictions import Predictions
from btjax.runs.report import Report, read_report
from btjax.systems.system import Kept, find_system
from btjax.training.step import make_predict

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Callable

    from btjax.base.checkpoints import Checkpoints
    from btjax.systems.config import Config

PREDICTIONS, OUTLINES, REPORT, HEAD = "predictions.npz", "outlines.npz", "report.json", "head.skops"


def save_kept(path: pathlib.Path, kept: Kept, seconds: float) -> None:
    """Writes what a fitted system keeps, and how long it took; see `btjax.base.objects`."""
    content = {name: value for name, value in kept.content.items() if value is not None}
    about = {"head": kept.head, "setting": kept.setting, "chosen": kept.chosen, "seconds": seconds}
    save_objects(path, {"content": content, **about})


class Run:
    """A run's folder as people use it.

    Example:
      >>> run = restore("runs/cnn")  # doctest: +SKIP
      >>> run.report.test.accuracy, run.report.test.accuracy_ci95  # doctest: +SKIP
      >>> run.probabilities(slices.images[:1])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Names the folder; nothing is read yet."""
        self.folder = expanded(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def config(self) -> Config:
        """The config that it was trained under."""
        return RunFolder(self.folder).config()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels and the logits."""
        return self.config.classes

    @property
    def checkpoints(self) -> Checkpoints:
        """Its checkpoints."""
        return RunFolder(self.folder).checkpoints

    @property
    def model(self) -> Any:
        """The network, a Flax Linen module that keeps `btjax.nn.network.Network`."""
        return self.config.model

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """Params and batch_stats of the checkpoint that validation chose.

        Raises:
          InputError: no checkpoint, or one that does not fit the config.
        """
        require_devices()
        config = self.config
        if find_system(config.system).fitted:
            raise InputError(f"{self.folder}: {config.system} has no network; its `kept` is what it was fitted to")
        shapes = jax.eval_shape(lambda key: config.task().initialise(key, config.data.image_size), jax.random.key(0))
        return self.checkpoints.load("best", shapes)[0]

    @functools.cached_property
    def head(self) -> Head | None:
        """The classical classifier on the features, or None where the network has its own."""
        if find_system(self.config.system).fitted:
            return None
        return load_head(self.folder / HEAD) if "head" in self.checkpoints.progress("best") else None

    @functools.cached_property
    def kept(self) -> Kept | None:
        """What a system that is fitted in one go keeps of its training rows; None for a network.

        Raises:
          InputError: there is none yet, or it is damaged.
        """
        if not find_system(self.config.system).fitted:
            return None
        path = self.folder / KEPT
        held = load_objects(path, "what a run was fitted to")
        with foreign(f"{path}: damaged, or not written by btjax"):
            setting, seconds = float(held["setting"]), float(held["seconds"])
            return Kept(held["content"], held["head"], setting, held["chosen"], seconds)

    @property
    def predictions(self) -> Predictions:
        """The logits of every row of the data set that it was trained on.

        Raises:
          InputError: there are none, or they are damaged.
        """
        return Predictions.load(self.folder / PREDICTIONS)

    @property
    def outlines(self) -> Outlines:
        """The outlines of every row of the data set that it was trained on, by a network that outlines tumours.

        Raises:
          InputError: there are none, or they are damaged.
        """
        return Outlines.load(self.folder / OUTLINES)

    @property
    def report(self) -> Report:
        """Its scores, each with its interval.

        Raises:
          InputError: there is none, or it is of an earlier version.
        """
        return read_report(self.folder / REPORT)

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of metrics for each epoch."""
        return RunFolder(self.folder).history()

    def outputs(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """What the model gives: class logits, an autoencoder's images, or a segmenter's pixel logits.

        Args:
          images: uint8 [N, S, S], grey, S the run's `config.data.image_size`, loaded under its `intensity_range` and
            `head_mask`.
          batch_size: slices at a time.

        Returns:
          float32 [N, C], in the order of `classes`; or float32 [N, S, S, 3]; or float32 [N, S / 2, S / 2, 1 + C], the
          background first.

        Raises:
          ValueError: images of another type or shape, or a batch size below 1.
        """
        self.check_images(images)
        whole_number(batch_size, "batch_size")
        return self._predict(self.variables, images, min(batch_size, len(images)))

    def check_images(self, images: np.ndarray) -> None:
        """Raises ValueError where images are not uint8 [N, S, S] of the run's size."""
        size = self.config.data.image_size
        if not isinstance(images, np.ndarray):
            raise ValueError(f"expected uint8 [N, {size}, {size}], found {type(images).__name__}")
        if images.dtype != np.uint8 or images.shape[1:] != (size, size) or len(images) == 0:
            raise ValueError(f"expected uint8 [N, {size}, {size}], found {images.dtype} {list(images.shape)}")

    @functools.cached_property
    def _predict(self) -> Callable[[dict[str, Any], np.ndarray, int], np.ndarray]:
        head = self.head
        if head is None:
            return make_predict(self.config.task())
        stage = self.checkpoints.progress("best")["features"]
        model, preprocessing = self.model, self.config.preprocessing
        features = jax.jit(lambda variables, images: model.apply(variables, preprocessing(images), stop=stage))

        def predict(variables: dict[str, Any], images: np.ndarray, batch_size: int) -> np.ndarray:
            return head.logits(in_batches(partial(features, variables), batch_size, images))

        return predict

    def features(self, images: np.ndarray, stage: str | None = None, batch_size: int = 32) -> np.ndarray:
        """The output of a stage of the network, in inference mode.

        Args:
          images: as in `outputs`.
          stage: one of `model.layers` with a single array as output; by default what the classifier stands on: the
            stage below the logits, or a classical head's features.
          batch_size: slices at a time.

        Returns:
          float32 [N, ...].

        Raises:
          ValueError: images of another type or shape, or no such stage.
        """
        self.check_images(images)
        whole_number(batch_size, "batch_size")
        model, preprocessing = self.model, self.config.preprocessing
        below = model.layers[-2] if self.head is None else self.checkpoints.progress("best")["features"]
        stop = stage or below
        if stop not in model.layers:
            raise ValueError(f"stage {stop!r}: expected one of {', '.join(model.layers)}")
        run = jax.jit(lambda variables, batch: model.apply(variables, preprocessing(batch), stop=stop))
        return in_batches(partial(run, self.variables), min(batch_size, len(images)), images)

    def logits(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """A classifier's `outputs`; InputError for a run of anything else."""
        self.require_classifier()
        return self.outputs(images, batch_size)

    def require_classifier(self) -> None:
        """Raises InputError for a run of an autoencoder or a segmenter."""
        task = self.config.task()
        if task.name != "classification":
            raise InputError(f"{self.folder}: {task.trains}, expected a classifier's run")

    def outline(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """The tumours that a segmenter or a joint network finds in slices; masks are not needed.

        The outline is where the probability of any tumour, brought to S bilinearly, is above one half, and of that the
        largest connected part; see `btjax.runs.outlines.find_outlines`.

        Args:
          images: as in `outputs`.
          batch_size: slices at a time.

        Returns:
          bool [N, S, S]; all False where no tumour is found.

        Raises:
          InputError: a run whose network outlines nothing.
          ValueError: images of another type or shape.
        """
        task = self.config.task()
        if not task.outlines:
            raise InputError(f"{self.folder}: {task.trains}, which outlines nothing; expected a segmenter's run")
        self.check_images(images)
        predict = make_predict(task, pixels=True)
        return find_outlines(lambda some: predict(self.variables, some, min(batch_size, len(some))), images).masks

    def probabilities(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Class probabilities float32 [N, C]: the softmax of `logits`."""
        return np.asarray(jax.nn.softmax(jnp.asarray(self.logits(images, batch_size))))


def restore(folder: str | os.PathLike) -> Run:
    """Gives back the best model of a finished or interrupted run of any network.

    Args:
      folder: the run's `--workdir`.

    Returns:
      The run, its variables loaded.

    Raises:
      InputError: no run there, no checkpoint, one that does not fit its config, or a system without a network
        (`cheng2015`, `cheng2016`), whose folder `Run(folder)` opens.

    Example:
      >>> restore("no/such/folder")
      Traceback (most recent call last):
      btjax.base.errors.InputError: no/such/folder/config.json: not found, expected a run's folder
    """
    run = Run(folder)
    if not run.variables["params"]:
        raise InputError(f"{folder}: the checkpoint holds no parameters")
    return run
