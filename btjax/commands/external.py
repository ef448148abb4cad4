"""Tests a trained classifier on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from btjax.base.errors import InputError
from btjax.base.files import expanded, write_json
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.commands.links import resolved
from btjax.data.dataset import PHANTOM, DataSet, load_data
from btjax.reports.external import external_figures, external_page
from btjax.runs.folder import RunFolder
from btjax.runs.report import DataInfo
from btjax.runs.run import REPORT, Run, restore
from btjax.studies.external import ExternalReport, external_report, open_external

if TYPE_CHECKING:
    import os

    from btjax.systems.config import Config


def evaluate_on(
    run: Run | str | os.PathLike,
    data_dir: str,
    folder: str | os.PathLike,
    *,
    own_dir: str | None = None,
    links: bool = True,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> ExternalReport:
    """Tests a run on another data set, without the slices that are linked to its own.

    Classes are matched by name; slices of classes that the model does not know are counted and not scored.

    Args:
      run: a finished classifier's run, or its folder.
      data_dir: the other data set, in any form that btjax reads.
      folder: takes report.json, report.html and figures/: a new one, or that of the same test, which is made again.
      own_dir: where the run's own data set stands now; by default where the run found it.
      links: look for slices of the run's own data set in the other one by their pixels, and leave them out. Links
        within the other set are looked for anyway where its patients are unknown: intervals go by their groups.
      observer: is told of what is read and searched.
      cache_dir: where prepared slices and links are kept.

    Returns:
      The report, which is also written.

    Raises:
      InputError: no run, no labels, no class in common, or a folder that holds something.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> folder = tempfile.mkdtemp()
      >>> run = btjax.train(config.replace("data.image_size", 32), folder + "/run")
      >>> report = btjax.evaluate_on(run, "phantom", folder + "/other", links=False)
      >>> report.counts.tested == report.test.slices == len(run.predictions)
      True
    """
    run = run if isinstance(run, Run) else restore(run)
    # The run's own report and predictions are needed at the end; the search before it takes minutes.
    run.require_classifier()
    if not run.report or not len(run.predictions):
        raise InputError(f"{run.folder}: no predictions, expected a finished run")
    place = RunFolder(expanded(folder))
    about = {"run": str(run.folder.resolve()), "data": resolved(data_dir), "links": links}
    with told(observer) as watching, claimed(place.path, "evaluate", about, observer=watching):
        own_place = own_dir or run.config.data.data_dir
        own = _load_own(run, own_place, watching, cache_dir) if links else None
        config = run.config.replace("data.data_dir", data_dir)
        other = _load(config, "tested on", watching, cache_dir)
        external = open_external(run, None if own is None else own.slices, other.slices, watching, cache_dir)
        former = None if own is None else _info(own, own_place)
        report = external_report(run, former, _info(other, data_dir), external)
        figures = external_figures(report, external)
        for name, figure in figures.items():
            place.write_figure(name, figure)
        place.write_text("report.html", external_page(report, figures))
        write_json(place.path / REPORT, msgspec.to_builtins(report))
    return report


def _load(config: Config, what: str, observer: Observer, cache_dir: str | os.PathLike | None) -> DataSet:
    data = load_data(config.data, None if cache_dir is None else str(cache_dir), observer.on_data)
    observer.on_message(f"{what}: {data.form}: {len(data.slices)} slices")
    observer.on_notes(data.notes)
    return data


def _info(data: DataSet, place: str) -> DataInfo:
    return DataInfo(data.form, place, place == PHANTOM, data.notes)


def _load_own(run: Run, own_dir: str, observer: Observer, cache_dir: str | os.PathLike | None) -> DataSet:
    """The data set that a run was trained on, checked to be that."""
    config = run.config.replace("data.data_dir", own_dir)
    try:
        data = _load(config, "trained on", observer, cache_dir)
    except InputError as error:
        raise InputError(
            f"{error}; the run's own data set is needed to leave its slices out: name it by --own_dir, or use --nolinks"
        ) from error
    RunFolder(run.folder).check_slices(data.slices.fingerprint, f"--own_dir={own_dir}")
    return data
