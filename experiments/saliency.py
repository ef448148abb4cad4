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

from btjax.data.dataset import load_data
from btjax.data.splits import make_split
from btjax.errors import InputError
from btjax.explanation import (
    SaliencyConfig,
    Subject,
    chosen_methods,
    compute_maps,
    explained_rows,
    open_subject,
    permuted_classifier,
)
from btjax.runs import Run, read_json, restore
from btjax.saliency_page import write_saliency_report
from btjax.saliency_report import HEADLINE, describe, saliency_report
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
    kept = {**about, "saliency": {**about["saliency"], "methods": []}}
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
    permuted = (
        permuted_classifier(subject, pathlib.Path(FLAGS.permuted_checkpoint)) if FLAGS.permuted_checkpoint else None
    )
    methods, left_out = chosen_methods(config, subject)
    if not methods:
        raise InputError(f"--methods={','.join(config.methods)}: none fits the model")
    out, about = Run(FLAGS.workdir), describe(subject, config)
    claim(out, about)
    print(f"{len(methods)} methods, {len(subject.tested)} test slices, {form}")
    print("\n".join(f"left out: {name}: {reason}" for name, reason in left_out.items()), end="\n" * bool(left_out))
    if subject.tested.masks is None:
        print("this form of the data set has no masks: maps and gallery only, scores need masks")
    maps = {}
    with tqdm(methods, unit="method", dynamic_ncols=True) as bar:
        for method in bar:
            bar.set_postfix_str(f"{method.name}, {len(explained_rows(config, subject, method))} slices")
            maps[method.name] = compute_maps(config, subject, method, out.folder / "maps")
    measured, values = saliency_report(config, subject, methods, maps, permuted)
    report = about | {"data": form, "left_out": left_out} | measured
    write_saliency_report(out, report, values, subject, maps, FLAGS.slices)
    _print_result(report, out)


def _print_result(report: dict, out: Run) -> None:
    """The five methods of the highest score, each beside its best control, and the page."""
    rows = [row for row in report.get("comparison", ()) if row["group"] == "all" and row["score"] == HEADLINE]
    for row in sorted(rows, key=lambda row: -row["mean"])[:5]:
        low, high = row["difference_ci95"] or (float("nan"), float("nan"))
        print(
            f"{row['method']:22s} {HEADLINE} {row['mean']:.3f}, {row['difference']:+.3f} ({low:.3f} to {high:.3f}) "
            f"over {row['best_control']}"
        )
    print(out.folder / "saliency.html")


if __name__ == "__main__":
    run_guarded("saliency", main)
