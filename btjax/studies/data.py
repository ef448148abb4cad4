"""A config's slices and their split: where every study begins."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.progress import Observer
from btjax.base.rows import LazyRows
from btjax.data.dataset import DataSet, load_data
from btjax.data.notes import split_notes
from btjax.data.splits import Split, make_split, needs_links
from btjax.readers.slices import Slices

if TYPE_CHECKING:
    import os

    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class Divided:
    """Slices, their split, the data set's form in words, and what people should know of slices and split."""

    slices: Slices
    split: Split
    form: str
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]: the labels of all slices.

        Raises:
          ValueError: slices without labels.
        """
        if self.slices.labels is None:
            raise ValueError("expected labelled slices")
        return self.slices.labels

    def clusters(self, rows: np.ndarray) -> tuple[str, np.ndarray]:
        """What varies together among some rows, in words and as names: what intervals go by.

        Families of patient ids where the protocol keeps families together, else patients; without patients groups of
        linked slices; without these single slices.
        """
        slices = self.slices
        if slices.patients is not None and slices.families is not None:
            family = self.split.protocol == "family"
            return ("family", slices.families[rows]) if family else ("patient", slices.patients[rows])
        return ("slice", np.arange(len(rows))) if slices.links is None else ("group", slices.links[rows])

    @property
    def tested(self) -> Slices:
        """The test slices."""
        return self.slices.take(self.split.test)

    @property
    def trained(self) -> Slices:
        """The training slices."""
        return self.slices.take(self.split.train)


def load_slices(
    config: Config,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
    *,
    stream: bool | None = False,
) -> DataSet:
    """The data set of a config, checked to be large enough for its network; with links where its split needs them.

    Args:
      config: the options.
      observer: is told of what is read.
      cache_dir: where prepared slices are kept.
      stream: see `btjax.data.builder.load`.

    Raises:
      InputError: slices too small for the network, or data that cannot be read.
    """
    config.model.check(config.data.image_size)
    observer = observer or Observer()
    cache = None if cache_dir is None else str(cache_dir)
    data = load_data(config.data, cache, observer.on_data, stream=stream)
    observer.on_message(f"data: {data.form}: {len(data.slices)} slices at {config.data.image_size} px")
    if isinstance(data.slices.images, LazyRows):
        observer.on_message("data: their pixels are read from the prepared copy while they are needed (--stream)")
    observer.on_notes(data.notes)
    if needs_links(data.slices, config.data.protocol):
        from btjax.links.links import load_links

        links = load_links(data.slices, cache_dir, observer.on_data)
        data = dataclasses.replace(data, slices=dataclasses.replace(data.slices, links=links.groups))
    return data


def split_of(slices: Slices, config: Config) -> Split:
    """The split of a config."""
    data = config.data
    return make_split(
        slices,
        data.protocol,
        data.fold,
        data.folds,
        config.split_seed,
        train_slices=data.train_slices,
        refit=data.refit,
    )


def divide(config: Config, data: DataSet, observer: Observer | None = None) -> Divided:
    """Splits slices by a config's protocol.

    Raises:
      InputError: a protocol that does not fit the data set.
    """
    split = split_of(data.slices, config)
    notes = split_notes(data.slices, split)
    if observer is not None:
        sides = ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items())
        sides += f", {len(split.unused)} unused" if len(split.unused) else ""
        observer.on_message(f"split: {split.protocol}: {sides}")
        observer.on_notes(notes)
    return Divided(data.slices, split, data.form, data.notes + notes)
