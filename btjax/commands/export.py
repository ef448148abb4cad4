"""Exports a trained run for programs that have no btjax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.prediction.card import write_card
from btjax.prediction.export import GRAPHS, check_forms, export_run, permitted_forms
from btjax.runs.run import Run, restore
from btjax.runs.seen import mark_of
from btjax.studies.typical import typical_of

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Sequence

    from btjax.evaluation.typical import Typical


def export(
    run: Run | str | os.PathLike,
    folder: str | os.PathLike,
    forms: Sequence[str] = (),
    *,
    own_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> dict[str, pathlib.Path]:
    """Writes a run's network for other programs, with what one must know to use it in model.json and MODEL_CARD.md.

    Args:
      run: a finished run, or its folder.
      folder: a new one, or that of the same export, which is made again: one that was stopped leaves some of its files.
      forms: of `btjax.prediction.export.FORMS`; none for all that the run's network and the installed packages permit.
      own_dir: where the run's own data set stands now, which tells once what is like it; by default where it was.
      observer: is told of the work, and where nothing tells when not to answer.
      cache_dir: where prepared slices are kept.

    Returns:
      The path of each form.

    Raises:
      InputError: a form that is not known, not this network's, or whose package is missing; a run without a network or
        a report; or a folder that holds something.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> [path.name for path in export(run, tempfile.mkdtemp() + "/out", ["stablehlo"]).values()]  # doctest: +SKIP
      ['model.stablehlo']
    """
    run, place = run if isinstance(run, Run) else restore(run), expanded(folder)
    check_forms(run, forms)
    chosen = list(forms) or permitted_forms(run)
    _ = run.report  # the card needs it: refused before anything is written
    about = {"run": mark_of(run), "forms": chosen}
    with told(observer) as watching, claimed(place, "export", about, observer=watching):
        typical = known_typical(run, own_dir, watching, cache_dir) if {*chosen} & {*GRAPHS} else None
        paths = export_run(run, place, chosen, typical)
        write_card(run, place)
    return paths


def known_typical(
    run: Run, own_dir: str | None, observer: Observer, cache_dir: str | os.PathLike | None
) -> Typical | None:
    """What is typical of a classifier's training slices; None, and a note, where nothing tells it."""
    try:
        return typical_of(run, own_dir, observer, cache_dir)
    except InputError as error:
        why = str(error).partition("; the run's own data set")[0]
        observer.on_message(
            f"note: the files answer whatever they are given: {why}; --own_dir names the run's own data set"
        )
        return None
