"""Saliency maps of a trained classifier, scored against the tumour masks, beside controls that know nothing.

python -m experiments.saliency --checkpoint=RUN --data_dir=DATA --workdir=OUT [--methods=all] [--slices=ID,ID]

RUN is the folder of a finished cnn or vgg16 run, or the classifier in a unet run. OUT takes the maps, saliency.json,
saliency.html and figures/; a command that was stopped goes on with the maps that are there.
"""

import contextlib
import dataclasses
import pathlib

import numpy as np
from absl import flags
from tqdm import tqdm

from btjax import options
from btjax.data.dataset import load_data
from btjax.data.slices import CLASSES
from btjax.data.splits import make_split
from btjax.errors import InputError
from btjax.figures import saliency as figures
from btjax.figures.gallery import render_gallery
from btjax.runs import Run, read_json, restore
from btjax.saliency.scores import SCORES
from btjax.saliency_report import (
    SaliencyConfig,
    Subject,
    chosen_methods,
    compute_maps,
    faithfulness,
    open_subject,
    randomisation,
    score_all,
    stratified,
)
from experiments.command_line import FLAGS, define_group, group_from_flags
from experiments.console import DataBars
from experiments.guard import run_guarded

HEADLINE = "average_precision"

flags.DEFINE_string("checkpoint", None, "folder of the finished run to explain")
flags.DEFINE_string("data_dir", "", "folder of slices; default the run's own")
flags.DEFINE_string("workdir", None, "folder for maps, scores, figures and the page")
flags.DEFINE_string("cache_dir", None, "folder for prepared slices; default $BTJAX_CACHE, else ~/.cache/btjax")
flags.DEFINE_list("slices", [], "ids of the test slices to draw; default two of each class")
define_group(SaliencyConfig)


def open_checkpoint() -> tuple[Subject, str, str]:
    """Loads the run, its data and its split.

    Returns:
      (subject, protocol, the data set's form in words)

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
    return open_subject(folder, slices, split, restored), data.protocol, form


def main() -> None:
    """Maps, scores, checks, figures and the page."""
    config = group_from_flags(SaliencyConfig)
    subject, protocol, form = open_checkpoint()
    methods = chosen_methods(config, subject)
    out = Run(FLAGS.workdir)
    about = {"run": _identity(subject), "saliency": options.to_dict(config)}
    _claim(out, about)
    tested, maps = subject.tested, {}
    print(f"{len(methods)} methods, {len(tested)} test slices of protocol {protocol}, {form}")
    with tqdm(methods, unit="method", dynamic_ncols=True) as bar:
        for method in bar:
            bar.set_postfix_str(method.name)
            maps[method.name] = compute_maps(config, subject, method, out.folder / "maps")
    report = about | {"protocol": protocol, "data": form, "test_slices": len(tested), "classes": list(CLASSES)}
    report["accuracy"] = float(np.mean(subject.predicted == tested.labels))
    drawn = {"gallery": _gallery(subject, maps)}
    if tested.masks is not None:
        tables, values = score_all(subject, maps, config.saliency_seed)
        report |= tables
        drawn |= _score_figures(report, values, subject)
    else:
        print("this form of the data set has no masks: maps and gallery only, scores need masks")
    report["faithfulness"] = faithfulness(config, subject, maps)
    report["randomisation"] = randomisation(config, subject, methods)
    if report["randomisation"]:
        drawn["randomisation"] = figures.randomisation_curves(report["randomisation"])
    for name, figure in drawn.items():
        out.write_figure(name, figure)
    out.write_json("saliency.json", report)
    out.write_text("saliency.html", _page(report, drawn))
    _print_result(report, out)


def _identity(subject: Subject) -> dict:
    config = subject.restored.config.to_json()
    config["data"] = {name: value for name, value in config["data"].items() if name != "data_dir"}
    config.get("transfer", {}).pop("weights", None)
    return config


def _claim(out: Run, about: dict) -> None:
    """Makes the folder for these settings, or goes on in one that was made for the same."""
    path = out.folder / "settings.json"
    kept = {**about, "saliency": {**about["saliency"], "methods": []}}
    if path.exists() and read_json(path) != kept:
        raise InputError(f"--workdir={out.folder}: holds maps of another run or of other settings; name another folder")
    if not path.exists() and out.folder.exists() and any(out.folder.iterdir()):
        raise InputError(f"--workdir={out.folder}: not empty; expected a new folder")
    (out.folder / "maps").mkdir(parents=True, exist_ok=True)
    out.write_json("settings.json", kept)


def _gallery(subject: Subject, maps: dict):
    """The named slices, or two of each class of those that every method has a map of."""
    tested = subject.tested
    common = sorted(set.intersection(*(set(rows.tolist()) for rows, _ in maps.values())))
    if FLAGS.slices:
        unknown = set(FLAGS.slices) - set(tested.ids[common])
        if unknown:
            raise InputError(f"--slices={min(unknown)}: no test slice of that id has a map by every method")
        chosen = [row for row in common if tested.ids[row] in FLAGS.slices]
    else:
        chosen = [common[place] for place in stratified(tested.labels[common], 6, 0)]
    titles = [f"{tested.ids[row]}\n{CLASSES[tested.labels[row]]}" for row in chosen]
    found = {name: values[np.searchsorted(rows, chosen)] for name, (rows, values) in maps.items()}
    return figures.gallery(tested.images[chosen], titles, found, None if tested.masks is None else tested.masks[chosen])


def _score_figures(report: dict, values: dict, subject: Subject) -> dict:
    drawn = {}
    for score in (HEADLINE, "pointing", "energy"):
        rows = [
            row | {"control": kind == "controls"}
            for kind in ("scores", "controls")
            for row in report[kind]
            if row["group"] == "all" and row["score"] == score
        ]
        drawn[f"scores_{score}"] = figures.score_bars(
            rows, score, report["chance"][score], SCORES[score].higher_is_better
        )
    areas = subject.tested.masks.mean(axis=(1, 2))
    best = sorted(values, key=lambda name: -values[name][HEADLINE].mean())
    whole = [name for name in best if len(values[name][HEADLINE]) == len(areas)][:6]
    of_whole = {name: values[name][HEADLINE] for name in whole}
    return drawn | {"by_size": figures.score_by_size(areas, of_whole, HEADLINE)}


def _interval(bounds) -> str:
    return "" if bounds is None else f" ({bounds[0]:.3f} to {bounds[1]:.3f})"


def _page(report: dict, drawn: dict) -> str:
    tables = []
    if "comparison" in report:
        for score in SCORES:
            rows = [row for row in report["comparison"] if row["group"] == "all" and row["score"] == score]
            rows.sort(key=lambda row: -row["difference"])
            body = [
                [
                    row["method"], row["slices"], f"{row['mean']:.3f}", row["best_control"],
                    f"{row['control_mean']:.3f}", f"{row['difference']:+.3f}{_interval(row['difference_ci95'])}",
                    "yes" if row["beats_best_control"] else "no",
                ]
                for row in rows
            ]  # fmt: skip
            head = ["method", "slices", "mean", "best control", "its mean", "better by (95%)", "beats it"]
            direction, chance = report["directions"][score], report["chance"][score]
            title = f"{score.replace('_', ' ')}: {direction} is better, chance {chance:.3f}"
            tables.append({"title": title, "head": head, "rows": body})
    body = [[name, f"{found['insertion']:.3f}", f"{found['deletion']:.3f}"]
            for name, found in report["faithfulness"].items()]  # fmt: skip
    head = ["method", "insertion (higher is better)", "deletion (lower is better)"]
    tables.append({"title": "What the classifier does with the map's pixels", "head": head, "rows": body})
    captions = {
        "gallery": "Maps of test slices, the tumour outlined in green.",
        "by_size": "Average precision by lesion size.",
        "randomisation": "What is left of the maps when layers are made random, from the top down.",
    }
    shown = [
        {"figure": figure, "caption": captions.get(name, name.replace("_", " "))} for name, figure in drawn.items()
    ]
    sections = [
        {"title": "Figures", "tables": [], "figures": shown},
        {"title": "Scores", "tables": tables, "figures": []},
    ]
    experiment = report["run"]["experiment"]
    title = f"Saliency of {experiment}: {report['test_slices']} test slices, protocol {report['protocol']}"
    return render_gallery(title, sections, [f"Accuracy on these slices: {report['accuracy']:.3f}. {report['data']}."])


def _print_result(report: dict, out: Run) -> None:
    if "comparison" in report:
        rows = [row for row in report["comparison"] if row["group"] == "all" and row["score"] == HEADLINE]
        for row in sorted(rows, key=lambda row: -row["mean"])[:5]:
            print(
                f"{row['method']:22s} {HEADLINE} {row['mean']:.3f}, {row['difference']:+.3f}"
                f"{_interval(row['difference_ci95'])} over {row['best_control']}"
            )
    print(out.folder / "saliency.html")


if __name__ == "__main__":
    run_guarded("saliency", main)
