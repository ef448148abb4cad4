"""A config's slices and their split: where every study begins."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from btjax.base.progress import Observer
from btjax.data.dataset import load_data
from btjax.data.slices import Slices
from btjax.data.splits import Split, make_split

if TYPE_CHECKING:
    import os

    import numpy as np

    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class Divided:
    """Slices, their split, and the data set's form in words."""

    slices: Slices
    split: Split
    form: str

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]: the labels of all slices.

        Raises:
          ValueError: slices without labels.
        """
        if self.slices.labels is None:
            raise ValueError("expected labelled slices")
        return self.slices.labels

    @property
    def tested(self) -> Slices:
        """The test slices."""
        return self.slices.take(self.split.test)

    @property
    def trained(self) -> Slices:
        """The training slices."""
        return self.slices.take(self.split.train)


def load_slices(
    config: Config, observer: Observer | None = None, cache_dir: str | os.PathLike | None = None
) -> tuple[Slices, str]:
    """The slices of a config, checked to be large enough for its network, and the data set's form in words.

    Raises:
      InputError: slices too small for the network, or data that cannot be read.
    """
    config.model.check(config.data.image_size)
    observer = observer or Observer()
    slices, form = load_data(config.data, None if cache_dir is None else str(cache_dir), observer.on_data)
    observer.on_message(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    return slices, form


def divide(config: Config, slices: Slices, form: str, observer: Observer | None = None) -> Divided:
    """Splits slices by a config's protocol.

    Raises:
      InputError: a protocol that does not fit the data set.
    """
    data = config.data
    split = make_split(slices, data.protocol, data.fold, data.folds, config.split_seed)
    if observer is not None:
        sides = ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items())
        observer.on_message(f"split: {data.protocol}: {sides}")
    return Divided(slices, split, form)
