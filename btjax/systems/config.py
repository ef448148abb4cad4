"""The config of a run: every option that decides its result, in groups; saved as config.json."""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any

from btjax.base import options
from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.dataset import DataConfig
from btjax.data.preprocess import Preprocessing
from btjax.readers.slices import CLASSES
from btjax.systems.system import find_system, system_names
from btjax.training.config import TrainingConfig
from btjax.training.guidance import Guidance

if TYPE_CHECKING:
    from btjax.training.tasks import Task

SCHEMA = 2
"""The version of config.json. Version 1 said `experiment`, `transfer` and `stages`, and named no classes."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run's result; saved as config.json.

    Attributes:
      system: name of the system, see `btjax.systems.system.find_system`.
      seed: of the parameters, the data order, the augmentation and the dropout; of the split too unless
        `data.split_seed` says otherwise. 0 to 2**32 - 1.
      data: which slices.
      model: the network, a Flax module that keeps `btjax.nn.network.Network`, or what is fitted in its place; its
        options are its fields.
      preprocessing: how slices become the network's input.
      augmentation: how training slices vary.
      training: how the network is trained.
      extra: options that only this system has, or None.
      classes: names of the classes in the order of the labels; those of the data set, once it is loaded.

    Example:
      >>> config = Config.default("cnn").replace("training.epochs", 3)
      >>> config.training.epochs
      3
    """

    system: str
    seed: int
    data: DataConfig
    model: Any
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    extra: Any = None
    classes: tuple[str, ...] = CLASSES

    @staticmethod
    def default(system: str) -> Config:
        """The config of a system with every option at its default."""
        return Config(system, 0, **{name: kind() for name, kind in config_groups(system).items()})

    @property
    def split_seed(self) -> int:
        """The seed of the split: `data.split_seed`, or the run's seed where that is -1."""
        return self.seed if self.data.split_seed < 0 else self.data.split_seed

    def task(self) -> Task:
        """What training this config means."""
        system = find_system(self.system)
        chosen = {name: getattr(self.extra, name) for name in system.task_options}
        chosen |= {} if system.fitted else _of_classifiers(self.training)
        for name in sorted(chosen.keys() - inspect.signature(system.task).parameters.keys()):
            raise InputError(f"--{name}: {system.title} is no classifier, expected 0")
        return system.task(self.model, self.preprocessing, self.augmentation, **chosen)

    def replace(self, name: str, value: Any) -> Config:
        """The same config with one option changed.

        Args:
          name: "seed", or group and option, such as "training.epochs" or "data.image_size".
          value: of the option's type; NumPy's numbers become Python's.

        Raises:
          InputError: no such option, or a value that it does not take.
        """
        value = options.plain(value)
        if name == "seed":
            return dataclasses.replace(self, seed=_checked_seed(value, "seed"))
        group, _, option = name.partition(".")
        groups = config_groups(self.system)
        if group not in groups or option not in options.options(groups[group]):
            known = ", ".join(f"{group}.*" for group in groups)
            raise InputError(f"option {name!r} of {self.system}: no such option, expected seed or one of {known}")
        options.check_option(groups[group], option, value, name)
        change = self.model.clone if group == "model" else functools.partial(dataclasses.replace, getattr(self, group))
        return dataclasses.replace(self, **{group: change(**{option: value})})

    def with_classes(self, classes: tuple[str, ...]) -> Config:
        """The same config for a data set of these classes; a model that classifies gets one logit for each."""
        model = self.model
        if "classes" in {field.name for field in dataclasses.fields(model)}:
            model = model.clone(classes=len(classes))
        return dataclasses.replace(self, classes=tuple(classes), model=model)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        groups = {name: options.to_dict(getattr(self, name)) for name in config_groups(self.system)}
        return {"schema": SCHEMA, "system": self.system, "seed": self.seed, "classes": list(self.classes)} | groups

    @staticmethod
    def from_json(values: Any, where: str) -> Config:
        """Builds a config from `to_json`'s output, of this version or the one before.

        Args:
          values: JSON values.
          where: names the file in an error.

        Raises:
          InputError: a later version, a missing or unknown option or system.
        """
        values = _upgraded(values, where)
        kinds = config_groups(values["system"])
        unknown = values.keys() - kinds.keys() - {"schema", "system", "seed", "classes", "split", "slices", "masks"}
        if unknown:
            raise InputError(f"{where}: unknown keys: {', '.join(sorted(unknown))}")
        missing = [name for name in ("seed", *kinds) if name not in values]
        if missing:
            raise InputError(f"{where}: {', '.join(missing)} missing")
        groups = {name: options.from_dict(kind, values[name], f"{where}: {name}") for name, kind in kinds.items()}
        config = Config(values["system"], _checked_seed(values["seed"], f"{where}: seed"), **groups)
        return config.with_classes(_checked_classes(values.get("classes", list(CLASSES)), where))


def config_groups(system: str) -> dict[str, type]:
    """The groups of options of a system's config, by the name of the config's field."""
    record = find_system(system)
    groups: dict[str, type] = {"data": DataConfig}
    groups |= {} if record.fitted else {"preprocessing": Preprocessing, "augmentation": Augmentation}
    groups |= {"model": record.model} | ({} if record.fitted else {"training": TrainingConfig})
    groups |= {} if record.extra is None else {"extra": record.extra}
    names = collections.Counter(name for kind in groups.values() for name in options.options(kind))
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise ValueError(f"system {system!r}: two groups have the option {repeated[0]!r}, expected different names")
    return groups


def _upgraded(values: Any, where: str) -> dict[str, Any]:
    """The values under the names of the present version, with a known system."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: found {type(values).__name__}, expected the config of a run")
    values = dict(values)
    schema = values.get("schema", 1)
    if schema not in (1, SCHEMA):
        raise InputError(f"{where}: schema {schema!r}, expected {SCHEMA} or 1: made by a later version of btjax?")
    if schema == 1:
        former = {"experiment": "system", "transfer": "extra", "stages": "extra"}
        values = {former.get(name, name): value for name, value in values.items()}
    system = values.get("system")
    if not isinstance(system, str) or system not in system_names():
        raise InputError(f"{where}: system is {system!r}, expected one of {', '.join(system_names())}")
    return values


def _checked_seed(seed: Any, where: str) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InputError(f"{where} is {seed!r}, expected an integer from 0 to 2**32 - 1")
    return seed


def _checked_classes(classes: Any, where: str) -> tuple[str, ...]:
    named = isinstance(classes, list) and all(isinstance(name, str) and name for name in classes)
    if not named or len(set(classes)) < len(classes) or len(classes) < 2:
        raise InputError(f"{where}: classes is {classes!r}, expected two or more different names")
    return tuple(classes)


def _of_classifiers(training: TrainingConfig) -> dict[str, Any]:
    """The options of training that only classifiers have, where they are on."""
    chosen: dict[str, Any] = {name: getattr(training, name) for name in ("label_smoothing", "mixup")}
    if training.guidance:
        chosen["guidance"] = Guidance(training.guidance, training.guidance_map, training.guidance_radius)
    return {name: value for name, value in chosen.items() if value}
