"""A run's folder: its config, metrics, checkpoints, report and figures; and how to get a model back from it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.data.splits import Split
from btjax.systems.config import Config
from btjax.training.hosts import leads
from btjax.training.step import make_predict

# What may change when a run is resumed: the same data set can stand elsewhere (the split's fingerprint is compared),
# and the weights are in the checkpoint.
_FREE = {("data", "data_dir"), ("training", "devices"), ("transfer", "weights")}


class Run:
    """The folder of one run; of several processes that train it together the first alone writes files.

    Attributes:
      folder: the path.
      checkpoints: its checkpoints.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")

    def check(self, config: Config, resume: bool) -> None:
        """Checks that the folder can hold this run; writes nothing.

        Raises:
          InputError: the folder holds another config, something else, or a run that is not to be resumed.
        """
        path = self.folder / "config.json"
        if path.exists():
            if not self.checkpoints.exists("last"):
                return  # stopped before its first checkpoint: there is nothing to lose
            self._check_config(path, config)
            if not resume:
                raise InputError(f"--workdir={self.folder}: holds a run already; add --resume, or name another folder")
        elif self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--workdir={self.folder}: found a file, expected a folder")
        elif self.folder.exists() and any(entry.suffix != ".part" for entry in self.folder.iterdir()):
            raise InputError(f"--workdir={self.folder}: not empty and no run of btjax; expected a new folder")
        elif resume:
            raise InputError(f"--workdir={self.folder}: no run to resume or evaluate")

    def start(self, config: Config, split: Split) -> None:
        """Makes the folder and saves the config with the split's fingerprint.

        Raises:
          InputError: the folder's run was started on other rows: another data set, or the same in another order.
        """
        path = self.folder / "config.json"
        begun = path.exists() and self.checkpoints.exists("last")
        held = read_json(path).get("split", split.fingerprint) if begun else split.fingerprint
        if held != split.fingerprint:
            raise InputError(
                f"--data_dir={config.data.data_dir}: its split is {split.fingerprint}, the run in {self.folder} was "
                f"started on {held}; expected the same data set"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_json("config.json", config.to_json() | {"split": split.fingerprint})

    def config(self) -> Config:
        """The config that the folder's run was started with."""
        path = self.folder / "config.json"
        return Config.from_json(read_json(path), str(path))

    def write_json(self, name: str, values: Any) -> None:
        """Writes a JSON file, complete or not at all."""
        self.write_text(name, json.dumps(values, indent=2, allow_nan=False) + "\n")

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Writes metrics.jsonl: one row per completed epoch."""
        self.write_text("metrics.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in history))

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file beside its place and moves it there when it is complete."""
        self._write(name, lambda path: path.write_text(text, encoding="utf-8"))

    def write_figure(self, name: str, figure) -> None:
        """Writes figures/<name>.png of a matplotlib Figure, complete or not at all."""
        (self.folder / "figures").mkdir(exist_ok=True)
        self._write(f"figures/{name}.png", lambda path: figure.savefig(path, format="png", dpi=120))

    def _write(self, name: str, write) -> None:
        if not leads():
            return
        path = self.folder / name
        beside = path.with_name(path.name + ".part")
        try:
            write(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _check_config(self, path: pathlib.Path, config: Config) -> None:
        found, expected = Config.from_json(read_json(path), str(path)).to_json(), config.to_json()
        for group, values in expected.items():
            pairs = values.items() if isinstance(values, dict) else [(group, values)]
            for name, value in pairs:
                held = found[group][name] if isinstance(values, dict) else found[group]
                if held != value and (group, name) not in _FREE:
                    raise InputError(
                        f"--workdir={self.folder}: holds a run with {name}={held!r}, now {name}={value!r}; "
                        "resume with its own flags, or name another folder"
                    )


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file; InputError where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected a run's folder") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None


@dataclasses.dataclass(frozen=True)
class Restored:
    """A trained model, ready to use.

    Attributes:
      model: the Flax module.
      variables: its params and batch_stats.
      config: the config that it was trained under.
    """

    model: nn.Module
    variables: dict[str, Any]
    config: Config

    def outputs(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """What the model gives: class logits, or an autoencoder's images.

        Args:
          images: uint8 [N, S, S], grey, S the model's `config.data.image_size`.
          batch_size: slices at a time.

        Returns:
          float32 [N, 3], in the order of `btjax.CLASSES`; or float32 [N, S, S, 3].
        """
        size = self.config.data.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size):
            raise ValueError(f"expected uint8 [N, {size}, {size}], found {images.dtype} {list(images.shape)}")
        return self._predict(self.variables, images, min(batch_size, len(images)))

    @functools.cached_property
    def _predict(self):
        return make_predict(self.config.task())

    def logits(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """A classifier's `outputs`."""
        return self.outputs(images, batch_size)

    def probabilities(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Class probabilities float32 [N, 3]: the softmax of `logits`."""
        return np.asarray(jax.nn.softmax(jnp.asarray(self.logits(images, batch_size))))


def restore(folder: str | os.PathLike) -> Restored:
    """Gives a finished (or interrupted) run's best model back; it need not be known which experiment made it.

    Args:
      folder: the run's `--workdir`.

    Raises:
      InputError: no run there, no checkpoint, or a checkpoint that does not fit its config.

    Example:
      >>> run = btjax.restore("runs/cnn")  # doctest: +SKIP
      >>> run.probabilities(slices.images[:1])  # doctest: +SKIP
    """
    run = Run(folder)
    config = run.config()
    shapes = jax.eval_shape(lambda key: config.task().initialise(key, config.data.image_size), jax.random.key(0))
    variables, _ = run.checkpoints.load("best", shapes)
    return Restored(config.model, variables, config)
