"""Makes a run into one folder for others: weights, config, report, card, exports, predictions, checksums."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded, make_folder, sync_tree
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.commands.export import known_typical
from btjax.prediction.bundle import SUMS, copy_run, move_in, write_sums, write_test_table
from btjax.prediction.card import write_card
from btjax.prediction.export import export_run, permitted_forms
from btjax.runs.run import Run, restore
from btjax.runs.seen import TYPICAL, mark_of, save_typical

if TYPE_CHECKING:
    import os
    import pathlib

    from btjax.evaluation.typical import Typical

_MADE = ".made"


def release(
    run: Run | str | os.PathLike,
    folder: str | os.PathLike,
    *,
    own_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Run:
    """Writes a bundle that `btjax.restore` takes as it is, and Hugging Face's upload of a folder.

    It holds the best checkpoint, config.json, report.json, MODEL_CARD.md (and the same as README.md), predictions of
    every row and a table of the test rows, what the training slices look like to the network (typical.npz), exports/ in
    every form that the network and the installed packages permit, and SHA256SUMS. No slice and no path of this machine
    is in it.

    Args:
      run: a finished run, or its folder.
      folder: a new or empty one, or that of a release of the same weights, which is made again.
      own_dir: where the run's own data set stands now, which tells once what is like it; by default where it was.
      observer: is told of the work, and where nothing tells when not to answer.
      cache_dir: where prepared slices are kept.

    Returns:
      The released run.

    Raises:
      InputError: no finished run of a network, or a folder that holds something else.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> released = release(run, tempfile.mkdtemp() + "/out")
      >>> released.report.test == run.report.test, (released.folder / "SHA256SUMS").exists()
      (True, True)
    """
    run, place = run if isinstance(run, Run) else restore(run), expanded(folder)
    if place.resolve() == run.folder.resolve():
        raise InputError(f"--workdir={place}: is the run itself, expected a new folder")
    classifies = run.report.task == "classification"  # without a report there is no card: refused before any work
    about = {"run": mark_of(run), "system": run.config.system}
    with told(observer) as watching, claimed(place, "release", about, observer=watching):
        typical = known_typical(run, own_dir, watching, cache_dir) if classifies else None
        made = place / _MADE
        with foreign(f"--workdir={place}: the release could not be written, what was there is kept"):
            shutil.rmtree(made, ignore_errors=True)
            try:
                _make(run, made, typical, watching)
                sync_tree(made)
                move_in(made, place)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return restore(place)


def _make(run: Run, made: pathlib.Path, typical: Typical | None, observer: Observer) -> None:
    """Everything, in a folder beside its place."""
    make_folder(made)
    copy_run(run, made)
    if typical is not None:
        save_typical(made / TYPICAL, run, typical)
    if run.report.task == "classification":
        write_test_table(run, made)
    if forms := permitted_forms(run):
        make_folder(made / "exports")
        try:
            export_run(run, made / "exports", forms, typical)
        except InputError as error:
            if "onnx" not in forms:
                raise
            observer.on_message(f"note: without ONNX: {error}")  # a jax2onnx that does not take this jax
            export_run(run, made / "exports", [form for form in forms if form != "onnx"], typical)
    (made / SUMS).touch()  # the card names it, and it names the card
    text = write_card(Run(made), made).read_bytes()
    (made / "README.md").write_bytes(text)
    write_sums(made)
