"""How a run differs from the experiment that its paper describes: a table made from the two configs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from btjax.base.options import options
from btjax.systems.config import config_groups
from btjax.systems.presets import preset
from btjax.systems.system import find_system

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from btjax.systems.config import Config
    from btjax.systems.system import Paper

NOT_SAID = "not said"
"""What is shown where the paper says nothing."""

_UNSEEN = {
    "data": ("data_dir", "fold", "folds", "split_seed", "plane", "window"),
    "training": ("checkpoint_every", "keep_every", "devices", "prng"),
    "extra": ("weights", "feature_cache"),
}
"""Options that say where and how a run is made, not what it is."""

_NAMES = {
    "data.image_size": "size in pixels",
    "training.select": "checkpoint chosen by",
    "training.layer_rates": "learning rate by layer",
    "preprocessing.scale": "input scale",
    "model.l2": "L2 of the dense layer",
    "model.widths": "filters",
    "model.width": "filters of the first layer",
}
"""Options whose own name does not say enough."""


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One row of the table.

    Attributes:
      name: what is compared, such as "size in pixels".
      paper: its value in the paper, as far as that is known, else as the paper's preset takes it.
      here: its value in the run.
      differs: whether the two are different.
      basis: `stated` in the paper's text or figures, `inferred` from them, or `not said`.
    """

    name: str
    paper: str
    here: str
    differs: bool
    basis: str


def deviations(paper: Config, run: Config, about: Paper, found: Mapping[str, str] | None = None) -> list[Deviation]:
    """Compares a run's config with the paper's.

    Options at which both have the same value and of which the paper says nothing are left out.

    Args:
      paper: the config of the paper's experiment; see `paper_config`.
      run: the run's config, of the same system.
      about: what the paper says, and what is inferred.
      found: what no config says: `data`, the form of the run's data set, and `rows`, its slices for training,
        validation and test, both in words.

    Returns:
      The rows: data, protocol, preprocessing, augmentation, network, training.

    Raises:
      ValueError: configs of different systems.

    Example:
      >>> import btjax
      >>> about = find_system("cnn").paper
      >>> rows = deviations(btjax.preset("cnn_paper"), btjax.preset("cnn_cpu"), about)
      >>> [(row.paper, row.here, row.basis) for row in rows if row.name == "size in pixels"]
      [('512', '128', 'stated')]
    """
    if paper.system != run.system:
        raise ValueError(f"a run of {run.system} cannot be compared with the paper's {paper.system}")
    rows = []
    for name, title in (("data", "data set"), ("rows", "slices to train / validate / test on")):
        here, said = (found or {}).get(name, ""), getattr(about, name)
        if here and said:
            rows.append(Deviation(title, said, here, here != said, "inferred"))
    for path in _compared(run.system):
        theirs, ours = (_value(config, path) for config in (paper, run))
        known = next((kind for kind in ("stated", "inferred") if path in getattr(about, kind)), NOT_SAID)
        if known != NOT_SAID or theirs != ours:
            title = _NAMES.get(path, path.rpartition(".")[2].replace("_", " "))
            rows.append(Deviation(title, theirs, ours, theirs != ours, known))
    return rows


def paper_config(system: str) -> Config | None:
    """The config of a paper's experiment as far as the paper describes it; None where no paper is recorded.

    Raises:
      InputError: no such system.
    """
    about = find_system(system).paper
    return None if about is None else about.adapt(preset(about.preset))


def deviations_of(run: Config, found: Mapping[str, str] | None = None) -> list[Deviation]:
    """`deviations` of a run from its own system's paper; none where no paper is recorded.

    Example:
      >>> import btjax
      >>> [row.name for row in deviations_of(btjax.preset("cnn_paper")) if row.differs]
      []
    """
    about, paper = find_system(run.system).paper, paper_config(run.system)
    return [] if about is None or paper is None else deviations(paper, run, about, found)


def _compared(system: str) -> Iterator[str]:
    """The options to compare, as "group.option", and "augmentation" as a whole, in the order of the table."""
    kinds: dict[str, Any] = config_groups(system)
    for group, kind in kinds.items():
        if group == "augmentation":
            yield group
            continue
        for name in options(kind):
            if name not in _UNSEEN.get(group, ()) and not name.startswith("phantom_"):
                yield f"{group}.{name}"


def _value(config: Config, path: str) -> str:
    """An option's value in words."""
    group, _, name = path.partition(".")
    if not name:
        return _changes(getattr(config, group))
    value = getattr(getattr(config, group), name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    if path in ("training.patience", "training.warmup_epochs", "training.weight_decay"):
        return f"{value:g}" if value else "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace("_", " ")


def _changes(augmentation: Any) -> str:
    """What of the augmentation is on."""
    values = {name: getattr(augmentation, name) for name in options(type(augmentation))}
    parts = [name if value is True else f"{name} {value:g}" for name, value in values.items() if value]
    return ", ".join(parts) or "none"
