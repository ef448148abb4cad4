"""The record of a system, and how one is found by its name."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Self

from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.progress import ProgressCallback
from btjax.evaluation.published import PublishedResult
from btjax.training.examples import Examples
from btjax.training.tasks import Classification, Task

if TYPE_CHECKING:
    import numpy as np

    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a run trains.

    Attributes:
      task: of the whole network, or of the stages above the features.
      examples: slices, or their features.
      pretrained: variables to begin with, {"params", "batch_stats"} of some stages; the others begin fresh.
      features: the stage whose output was computed beforehand, or None.
      head: the classical classifier that is fitted on the features in the place of training, or None.
      copies: augmented copies of each training slice among the features.
    """

    task: Task
    examples: Examples
    pretrained: dict[str, Any] | None = None
    features: str | None = None
    head: str | None = None
    copies: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where preparing a run may keep what it computes, and whom it tells how far it is."""

    cache: pathlib.Path
    progress: ProgressCallback | None = None


Prepare = Callable[["Config", "Slices", "Split", Place], Prepared]
"""Prepares what a run trains."""


def prepare_slices(config: Config, slices: Slices, split: Split, place: Place) -> Prepared:
    """The whole network on slices, from fresh parameters.

    Raises:
      InputError: slices without masks, for a task that trains on them.
    """
    del place
    task = config.task()
    if task.needs_masks and slices.masks is None:
        raise InputError(masks_missing(config))
    return Prepared(task, Examples.of(slices, split, masks=task.needs_masks))


def masks_missing(config: Config) -> str:
    """The line for slices without the masks that a config trains on."""
    what = "--guidance" if config.training.guidance else f"--system={config.system}"
    return (
        f"--data_dir={config.data.data_dir}: its slices have no tumour masks, which {what} trains on; expected a data "
        "set with masks, such as images/ and masks/"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Kept:
    """What a fitted system keeps of its training rows.

    Attributes:
      content: arrays, and scikit-learn's objects, by name; None for what it does without.
      head: what classifies, in a word.
      setting: of the head.
      chosen: how the setting was chosen, in words.
      seconds: that fitting took; set where it is saved.
    """

    content: dict[str, Any]
    head: str
    setting: float
    chosen: str = ""
    seconds: float = 0.0


class FittedModel(Protocol):
    """What takes the place of a network where a system is fitted in one go; a dataclass of options.

    Its config has neither preprocessing nor augmentation nor training.
    """

    def check(self, image_size: int) -> None:
        """Raises InputError for options that do not fit a slice."""
        ...

    def clone(self, **changes: Any) -> Self:
        """The same with other options."""
        ...

    def fit(self, slices: Slices, split: Split, seed: int, place: Place) -> Kept:
        """Learns from the training rows alone."""
        ...

    def outputs(self, kept: Kept, slices: Slices, place: Place) -> np.ndarray:
        """Logits float32 [N, classes] of slices, or what else the system gives for each."""
        ...


Adapt = Callable[["Config"], "Config"]
"""From a config as given to the one that is trained."""


def _as_given(config: Config) -> Config:
    return config


@dataclasses.dataclass(frozen=True)
class Paper:
    """What a paper says of how its system was made: what a run's own options are compared with.

    Attributes:
      preset: of `btjax.systems.presets`, the system as far as the paper describes it.
      adapt: from that preset's config to the system's, where the preset trains several systems.
      stated: options that the text states or a figure shows, such as "training.epochs".
      inferred: options that follow from what is stated, with some doubt. Of all others the paper says nothing.
      data: where its slices came from, in words.
      rows: its slices for training, validation and test.
    """

    preset: str
    adapt: Adapt = _as_given
    stated: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()
    data: str = ""
    rows: str = ""


RAFIQ_DATA = "PNGs of a Kaggle copy, in viridis"
"""Where Rafiq, Patwary and Weiss took their slices from: its background is viridis's lowest colour."""


@dataclasses.dataclass(frozen=True)
class System:
    """A published system: what it is, how it is built and trained, and what its paper claims.

    Attributes:
      name: its name in flags, configs and files; the name of its module in `btjax.systems`.
      title: its name for people.
      reference: authors, title and year, and the section or figure.
      model: the network, a Flax module that keeps the protocol of `btjax.nn.network`, or a `FittedModel`; its options
        are its fields.
      task: what training means: from (model, preprocessing, augmentation) to a `Task`; of a fitted system
        only what it is called counts.
      task_options: the options of `extra` that `task` takes by name.
      extra: a dataclass of further options, or None.
      adapt: from a config as given to the one that is trained, for systems that fix some options.
      prepare: prepares what a run trains: published weights, features.
      published: the result that the paper prints, to stand beside ours, or None.
      claims: what the paper says it reaches, in words with its protocol.
      curves: whether the paper's training curves (Figure 15) are this system's.
      paper: what the paper says of how it was made, or None.
    """

    name: str
    title: str
    reference: str
    model: type[nn.Module] | type[FittedModel]
    task: Callable[..., Any] = Classification
    task_options: tuple[str, ...] = ()
    extra: type | None = None
    adapt: Adapt = _as_given
    prepare: Prepare = prepare_slices
    published: PublishedResult | None = None
    claims: str = ""
    curves: bool = False
    paper: Paper | None = None

    @property
    def fitted(self) -> bool:
        """Whether it is fitted in one go; see `FittedModel`."""
        return not issubclass(self.model, nn.Module)


_REGISTERED: dict[str, System] = {}


def register(system: System) -> System:
    """Makes a system known by its name for this process: for systems that live outside btjax.

    Raises:
      ValueError: the name of one of btjax's own systems.

    Example:
      >>> from btjax.models.cnn import CNN
      >>> register(System("mine", "My network", "nobody, 2026", CNN)).name
      'mine'
      >>> find_system("mine").title
      'My network'
    """
    if system.name in _published():
        raise ValueError(f"system {system.name!r} is one of btjax's own, expected another name")
    _REGISTERED[system.name] = system
    return system


def system_names() -> tuple[str, ...]:
    """The names of all systems: every module of `btjax.systems` with a `SYSTEM`, and those registered."""
    return tuple(sorted(_published().keys() | _REGISTERED.keys()))


def find_system(name: str) -> System:
    """The system of a name.

    Raises:
      InputError: there is none.

    Example:
      >>> find_system("cnn").title
      'Custom CNN'
    """
    systems = _published() | _REGISTERED
    if name not in systems:
        raise InputError(f"system {name!r}: expected one of {', '.join(sorted(systems))}")
    return systems[name]


@functools.cache
def _published() -> dict[str, System]:
    """The `SYSTEM` of every module of `btjax.systems` that has one, by name."""
    package = importlib.import_module("btjax.systems")
    names = (f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__))
    found = (getattr(importlib.import_module(name), "SYSTEM", None) for name in names)
    return {system.name: system for system in found if system is not None}
