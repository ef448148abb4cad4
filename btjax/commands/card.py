"""Writes a run's model card, or compares one that is there with the run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded
from btjax.prediction.card import CARD, check_card, write_card
from btjax.runs.run import Run

if TYPE_CHECKING:
    import os
    import pathlib


def model_card(
    run: Run | str | os.PathLike, folder: str | os.PathLike | None = None, *, check: bool = False
) -> pathlib.Path:
    """Writes MODEL_CARD.md: what a run is, what it was trained on, every score of its report, and its limits.

    Args:
      run: a finished run, or its folder.
      folder: where the card goes or is; by default the run's own folder. It exists, such as one of `export`.
      check: compare the card that is there instead of writing one; see `btjax.prediction.card.check_card`.

    Returns:
      The card's path.

    Raises:
      InputError: a run without a report, a folder that is not there or cannot be written, or with `check` no card, or
        the first line of it that is not the report's.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> path = model_card(run)
      >>> path.name, model_card(run, check=True) == path
      ('MODEL_CARD.md', True)
    """
    run = run if isinstance(run, Run) else Run(run)
    place = run.folder if folder is None else expanded(folder)
    if check:
        check_card(run, place)
        return place / CARD
    flag = "--checkpoint=" if folder is None else "--workdir="
    if not place.is_dir():
        raise InputError(f"{flag}{place}: not found, expected the folder that the card goes with")
    check_writable(place, flag)
    return write_card(run, place)
