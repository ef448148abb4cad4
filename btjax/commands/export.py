"""Exports a trained run for programs that have no btjax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded, make_folder, strangers
from btjax.prediction.export import FORMS, export_run
from btjax.runs.run import Run, restore

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Sequence


def export(
    run: Run | str | os.PathLike, folder: str | os.PathLike, forms: Sequence[str] = FORMS
) -> dict[str, pathlib.Path]:
    """Writes a run's network as StableHLO, ONNX or safetensors, with what one must know to use it in model.json.

    Args:
      run: a finished classifier's run, or its folder.
      folder: a new one.
      forms: of `btjax.prediction.export.FORMS`.

    Returns:
      The path of each form.

    Raises:
      InputError: a form that is not known or whose package is missing, a run without a network, or a folder that holds
        something.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> [path.name for path in export(run, tempfile.mkdtemp() + "/out", ["stablehlo"]).values()]  # doctest: +SKIP
      ['model.stablehlo']
    """
    run, place = run if isinstance(run, Run) else restore(run), expanded(folder)
    check_writable(place, "--workdir=")
    if others := strangers(place):
        raise InputError(f"--workdir={place}: not empty (found {others[0].name}), expected a new folder")
    make_folder(place, "--workdir=")
    return export_run(run, place, forms)
