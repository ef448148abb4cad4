"""Saliency maps of a trained classifier, scored against the tumour masks, beside controls that know nothing.

python -m experiments.saliency --checkpoint=RUN --data_dir=DATA --workdir=OUT [--methods=all] [--slices=ID,ID]

RUN is the folder of a finished cnn or vgg16 run, or the classifier in a unet run. OUT takes the maps, saliency.json,
saliency.html and figures/; a command that was stopped goes on with the maps that are there.
"""

import contextlib
import dataclasses
import pathlib

from absl import flags
from tqdm import tqdm

from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.data.dataset import load_data
from btjax.data.splits import make_split
from btjax.reports.saliency import drawn_rows, write_saliency_report
from btjax.runs.run import Run, restore
from btjax.studies.explanation import (
    SaliencyConfig,
    Subject,
    chosen_methods,
    compute_maps,
    explained_rows,
    open_permuted,
    open_subject,
)
from btjax.studies.saliency import HEADLINE, describe, saliency_report
from experiments.command_line import FLAGS, define_group, group_from_flags
from experiments.console import DataBars
from experiments.guard import run_guarded

flags.DEFINE_string("checkpoint", None, "folder of the finished run to explain")
flags.DEFINE_string("permuted_checkpoint", None, "the same trained with --permuted_labels, to compare maps with")
flags.DEFINE_string("data_dir", "", "folder of slices; default the run's own")
flags.DEFINE_string("workdir", None, "folder for maps, scores, figures and the page")
flags.DEFINE_string("cache_dir", None, "folder for prepared slices; default $BTJAX_CACHE, else ~/.cache/btjax")
flags.DEFINE_list("slices", [], "ids of the test slices to draw; default two of each class")
define_group(SaliencyConfig)


def open_checkpoint(arithmetic: str) -> tuple[Subject, str]:
    """Loads the run, its data and its split.

    Args:
      arithmetic: see `SaliencyConfig`.

    Returns:
      (subject, the data set's form in words)

    Raises:
      InputError: no run there, no classifier, or another data set than it was trained on.
    """
    if not FLAGS.checkpoint or not FLAGS.workdir:
        raise InputError("--checkpoint and --workdir are needed: a finished run's folder, and one for the results")
    folder = pathlib.Path(FLAGS.checkpoint)
    restored = restore(folder)
    config = restored.config
    if config.experiment == "unet":
        raise InputError(f"--checkpoint={folder}: an autoencoder; expected a classifier, such as the one beside it")
    data = config.data if not FLAGS.data_dir else dataclasses.replace(config.data, data_dir=FLAGS.data_dir)
    with contextlib.closing(DataBars("slice")) as bars:
        slices, form = load_data(data, FLAGS.cache_dir, bars)
    split = make_split(slices, data.protocol, data.fold, data.folds, config.seed)
    held = read_json(folder / "config.json").get("split", split.fingerprint)
    if held != split.fingerprint:
        raise InputError(
            f"--data_dir={data.data_dir}: its split is {split.fingerprint}, the run in {folder} was trained on {held}"
        )
    return open_subject(folder, slices, split, restored, arithmetic), form


def claim(out: Run, about: dict) -> None:
    """Makes the folder for these settings, or goes on in one that was made for the same.

    Raises:
      InputError: the folder holds something else.
    """
    path = out.folder / "settings.json"
    # What changes no map may change: maps that are there stay true.
    free = ("methods", "batch_size", "checked_slices")
    kept = about | {"saliency": {name: value for name, value in about["saliency"].items() if name not in free}}
    if path.exists() and read_json(path) != kept:
        raise InputError(f"--workdir={out.folder}: holds maps of another run or of other settings; name another folder")
    if not path.exists() and out.folder.exists() and any(out.folder.iterdir()):
        raise InputError(f"--workdir={out.folder}: not empty; expected a new folder")
    (out.folder / "maps").mkdir(parents=True, exist_ok=True)
    out.write_json("settings.json", kept)


def main() -> None:
    """Maps, scores, checks, figures and the page."""
    config = group_from_flags(SaliencyConfig)
    subject, form = open_checkpoint(config.arithmetic)
    permuted = open_permuted(subject, pathlib.Path(FLAGS.permuted_checkpoint)) if FLAGS.permuted_checkpoint else None
    methods, left_out = chosen_methods(config, subject)
    if not methods:
        raise InputError(f"--methods={','.join(config.methods)}: none fits the model")
    explained = [explained_rows(config, subject, method) for method in methods]
    rows = drawn_rows(subject, explained, FLAGS.slices)
    out, about = Run(FLAGS.workdir), describe(subject, config, pathlib.Path(FLAGS.checkpoint))
    claim(out, about)
    print(f"{len(methods)} methods, {len(subject.tested)} test slices, {form}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    if subject.tested.masks is None:
        print("this form of the data set has no masks: maps and gallery only, scores need masks")
    maps = {}
    with tqdm(methods, unit="method", dynamic_ncols=True) as bar:
        for method, part in zip(bar, explained, strict=True):
            bar.set_postfix_str(f"{method.name}, {len(part)} slices")
            maps[method.name] = compute_maps(config, subject, method, out.folder / "maps")
    with contextlib.closing(DataBars("method")) as bars:
        measured, values = saliency_report(config, subject, methods, maps, permuted, bars)
    report = about | {"data": form, "left_out": left_out} | measured
    out.write_json("saliency.json", report)
    write_saliency_report(out, report, values, subject, maps, rows)
    _print_result(report, out)


def _print_result(report: dict, out: Run) -> None:
    """The five methods that beat their best control by most, and the page."""
    rows = [row for row in report.get("comparison", ()) if row["group"] == "all" and row["score"] == HEADLINE]
    for row in sorted(rows, key=lambda row: -row["difference"])[:5]:
        low, high = row["difference_ci95"] or (float("nan"), float("nan"))
        print(
            f"{row['method']:22s} {HEADLINE} {row['mean']:.3f} on {row['slices']} slices, {row['difference']:+.3f} "
            f"({low:.3f} to {high:.3f}) over {row['best_control']}"
        )
    print(out.folder / "saliency.html")


if __name__ == "__main__":
    run_guarded("saliency", main)
