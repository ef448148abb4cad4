"""Audits finished runs for shortcuts: the source, the border, the size instead of the tumour."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import expanded, read_json, write_json
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.evaluation.shortcuts import head_masks
from btjax.reports.audit import audit_page
from btjax.runs.folder import RunFolder
from btjax.runs.run import Run
from btjax.studies.audit import Outcome, audit
from btjax.studies.audit_rows import SCHEMA, Audit
from btjax.studies.data import load_slices
from btjax.studies.ladder import split_of
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from btjax.data.dataset import DataConfig
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config

AUDIT = "audit.json"


def audit_runs(
    runs: Sequence[Run | str | os.PathLike],
    folder: str | os.PathLike,
    *,
    data_dir: str | None = None,
    network: bool = True,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Audit:
    """Measures what else than the tumour could explain the accuracy of one run or of several folds together.

    Args:
      runs: finished classifiers' runs of one system and one data set, or their folders; folds and seeds are pooled.
      folder: takes audit.json and audit.html; a new one, or that of the same audit, which is made again.
      data_dir: where the data set stands now; by default where the first run found it.
      network: whether the networks are run: on slices that are black outside the head, and for the features that are
        probed for the source. Without it the saved predictions suffice.
      observer: is told of the work.
      cache_dir: where prepared slices are kept.

    Returns:
      The audit.

    Raises:
      InputError: no runs, runs of several systems or data sets, an autoencoder's, or data that are not theirs.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> folder = tempfile.mkdtemp()
      >>> run = btjax.train(config.replace("data.image_size", 32), folder + "/run")
      >>> found = btjax.audit_runs([run], folder + "/audit", network=False)
      >>> found.rows == len(run.predictions.side("test"))
      True
    """
    require_devices()
    opened = [run if isinstance(run, Run) else Run(run) for run in runs]
    place = RunFolder(expanded(folder))
    first = _common_config(opened)
    for run in opened:
        run.require_classifier()
    about = {"runs": [str(run.folder.resolve()) for run in opened], "network": network}
    with told(observer) as watching, claimed(place.path, "audit", about, observer=watching):
        config = first.replace("data.data_dir", data_dir) if data_dir else first
        slices = load_slices(config, watching, cache_dir).slices
        tested = []
        for run in opened:
            watching.on_message(f"audit: {run.folder}")
            tested.append(_tested(run, slices, f"--data_dir={config.data.data_dir}", network))
        found = audit(slices, tested, title=_title(opened))
        write_json(place.path / AUDIT, msgspec.to_builtins(found))
        place.write_text("audit.html", audit_page(found))
    return found


def read_audit(folder: str | os.PathLike) -> Audit:
    """The audit that a folder holds.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    path = expanded(folder) / AUDIT
    values = read_json(path, "an audit: python -m experiments.audit writes it")
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: audit of schema {schema}, expected {SCHEMA}: run the audit again")
    try:
        return msgspec.convert(values, Audit, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: damaged, or not written by btjax: {error}") from None


def _common_config(runs: Sequence[Run]) -> Config:
    """The first run's config, once it is sure that all runs are of one system and one data set."""
    if not runs:
        raise InputError("no runs to audit, expected the folder of at least one")
    first = runs[0].config

    def slices_of(data: DataConfig) -> DataConfig:
        return dataclasses.replace(
            data, protocol="slice", fold=0, folds=5, split_seed=0, train_slices=0, refit=False, data_dir=""
        )

    for run in runs[1:]:
        if run.config.system != first.system:
            raise InputError(f"{run.folder}: a run of {run.config.system}, {runs[0].folder} is one of {first.system}")
        if slices_of(run.config.data) != slices_of(first.data) or run.classes != runs[0].classes:
            raise InputError(f"{run.folder}: other slices than those of {runs[0].folder}, expected one data set")
    # Links are found where any of the runs was divided by them.
    return next((run.config for run in runs if run.config.data.protocol in ("linked", "given")), first)


def _tested(run: Run, slices: Slices, flag: str, network: bool) -> Outcome:
    """A run's predictions under its split, checked to be of these slices, and what its network says of changed ones."""
    split = split_of(slices, run.config)
    RunFolder(run.folder).check_data(run.config.with_classes(slices.classes), split, slices.fingerprint, flag)
    if not network or run.kept is not None:
        return Outcome.of(run.predictions, split)
    tested = slices.images[split.test]
    head_only = run.logits(np.where(head_masks(tested), tested, np.uint8(0)))
    return Outcome.of(run.predictions, split, features=run.features(slices.images), head_only=head_only)


def _title(runs: Sequence[Run]) -> str:
    name = find_system(runs[0].config.system).title
    protocols = ", ".join(dict.fromkeys(run.config.data.protocol for run in runs))
    return f"{name}, {protocols}"
