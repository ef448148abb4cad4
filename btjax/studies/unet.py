"""What is made of a trained autoencoder and encoder classifier: the composed models, their scores, Figures 7 to 14."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.checkpoints import Checkpoints
from btjax.base.keys import random_key
from btjax.data.slices import CLASSES, Slices
from btjax.data.splits import Split
from btjax.evaluation.reconstruction import latent_experiments, reconstruction_scores
from btjax.figures import saliency
from btjax.figures import unet as figures
from btjax.models.compose import compose_final, compose_left, compose_right
from btjax.models.unet import RightModel
from btjax.reports.gallery import render_gallery
from btjax.runs.run import Restored, Run, restore
from btjax.saliency.classifier import Classifier
from btjax.saliency.gradients import gradient
from btjax.systems.config import StageConfig
from btjax.training.loop import kept_name
from btjax.training.step import make_predict

AUTOENCODER, CLASSIFIER, COMPOSED = "autoencoder", "classifier", "composed"
CONFUSION_EPOCHS = (10, 20, 40, 50, 160)
"""The epochs of the paper's Figure 12."""

_BATCH = 32


def compose(folder: pathlib.Path, stages: StageConfig, seed: int) -> dict[str, dict[str, str]]:
    """Puts the final, the left and the right model together and saves them under `folder`/composed.

    Args:
      folder: the experiment's folder, with the runs autoencoder and classifier.
      stages: whose `latent` and `colorer` are used.
      seed: of what is fresh in the left and right models.

    Returns:
      model -> path of each leaf -> autoencoder, classifier or fresh; also in composed/origins.json.

    Raises:
      InputError: a missing run, or parts that do not fit.
    """
    autoencoder, classifier = restore(folder / AUTOENCODER), restore(folder / CLASSIFIER)
    composed = {"final": compose_final(autoencoder.variables, classifier.variables, stages.latent)}
    composed["left"] = compose_left(autoencoder.variables, _fresh(autoencoder, autoencoder.config.model, seed))
    right = _right_model(autoencoder)
    fresh = _fresh(autoencoder, right, seed)
    composed["right"] = compose_right(autoencoder.variables, fresh, stages.right_colorer)
    checkpoints = Checkpoints(folder / COMPOSED)
    for name, (variables, _) in composed.items():
        checkpoints.save(name, variables, 0, {})
    origins = {name: found for name, (_, found) in composed.items()}
    Run(folder / COMPOSED).write_json("origins.json", origins)
    return origins


def load_composed(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """The variables of a composed model, "final", "left" or "right"; InputError where there is none."""
    autoencoder = restore(folder / AUTOENCODER)
    model = _right_model(autoencoder) if name == "right" else autoencoder.config.model
    shapes = jax.eval_shape(lambda: _fresh(autoencoder, model, 0))
    return Checkpoints(folder / COMPOSED).load(name, shapes)[0]


def _right_model(autoencoder: Restored) -> RightModel:
    model = autoencoder.config.model
    return RightModel(colorer_size=model.colorer_size, dtype=model.dtype)


def _fresh(autoencoder: Restored, model, seed: int) -> dict[str, Any]:
    """Fresh variables of a model on the autoencoder's inputs; the key differs from the one that training began with."""
    size, channels = autoencoder.config.data.image_size, autoencoder.config.preprocessing.channels
    key = random_key(jax.random.key(seed), "composed")
    variables = model.init(key, jnp.zeros((1, size, size, channels)))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def write_unet_report(folder: pathlib.Path, slices: Slices, split: Split, form: str) -> str:
    """Scores every model on the test rows, draws Figures 7 to 14, writes unet.json, unet.html and figures/.

    Args:
      folder: the experiment's folder; its three first stages are done.
      slices: the data set.
      split: the runs' split.
      form: the data set's form in words.

    Returns:
      Two lines: the head of the result, and the page.
    """
    autoencoder, classifier = restore(folder / AUTOENCODER), restore(folder / CLASSIFIER)
    tested = slices.take(split.test)
    inputs = np.asarray(jax.jit(autoencoder.config.preprocessing)(tested.images))
    composed = {name: load_composed(folder, name) for name in ("final", "left", "right")}
    by_epoch, pictures = _scores_by_epoch(folder, autoencoder, tested.images, inputs, composed)
    full, final = (
        make_predict(autoencoder.config.task())(variables, tested.images, _BATCH)
        for variables in (autoencoder.variables, composed["final"])
    )
    config = autoencoder.config.to_json()
    report = {
        "experiment": "unet",
        "protocol": split.protocol,
        "data": form,
        "test_slices": len(tested),
        "reconstruction": _means(reconstruction_scores(full, inputs)),
        "final": _means(reconstruction_scores(final, inputs)),
        "by_epoch": by_epoch,
        "latent": _latent_table(autoencoder, tested, inputs),
        "final_latent": _latent_table(autoencoder, tested, inputs, composed["final"]),
        "location": _location(autoencoder),
        "confusion_by_epoch": _confusions(folder, classifier, slices, split),
        "config": config | {"data": {name: value for name, value in config["data"].items() if name != "data_dir"}},
    }
    drawn = _figures(folder, report, pictures, tested, inputs, full, final, classifier)
    run = Run(folder)
    for name, figure in drawn.items():
        run.write_figure(name, figure)
    run.write_json("unet.json", report)
    run.write_text("unet.html", render_gallery(*_page(report, drawn)))
    best = report["reconstruction"]
    head = f"test MAE {best['mae']:.4f}, PSNR {best['psnr']:.1f} dB, SSIM {best['ssim']:.3f} on {len(tested)} slices"
    return f"{head}\n{folder / 'unet.html'}"


def _means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _epochs(folder: pathlib.Path) -> list[int]:
    """The epochs whose variables a run has kept."""
    names = (path.name.removeprefix("epoch_") for path in (folder / "checkpoints").glob("epoch_*"))
    return sorted(int(name) for name in names)


def _scores_by_epoch(folder, autoencoder: Restored, images, inputs, composed) -> tuple[dict, dict]:
    """Scores of the full, right and left outputs after each kept epoch, and each model's outputs of one slice.

    The left and right models after an epoch are those of that epoch's autoencoder; what is fresh stays the same.
    """
    run, task = Run(folder / AUTOENCODER), autoencoder.config.task()
    models = {"full": task.model, "right": _right_model(autoencoder), "left": task.model}
    scores, pictures = {name: {} for name in models}, {name: {} for name in models}
    predict = {name: make_predict(_with_model(task, model)) for name, model in models.items()}
    fresh = {"left": composed["left"], "right": composed["right"]}
    chosen = len(images) // 2
    for epoch in _epochs(run.folder):
        variables, _ = run.checkpoints.load(kept_name(epoch), autoencoder.variables)
        each = {
            "full": variables,
            "left": compose_left(variables, fresh["left"])[0],
            "right": compose_right(variables, fresh["right"])[0],
        }
        for name in models:
            outputs = predict[name](each[name], images, _BATCH)
            scores[name][epoch] = _means(reconstruction_scores(outputs, inputs))
            pictures[name][epoch] = outputs[chosen]
    return scores, pictures


def _with_model(task, model):
    return type(task)(model, task.preprocessing, task.augmentation)


def _latent_table(autoencoder: Restored, tested: Slices, inputs, variables=None) -> dict[str, dict[str, float]]:
    """See `latent_experiments`; of the autoencoder, or of other variables of the same model."""
    model, variables = autoencoder.config.model, variables or autoencoder.variables

    def batched(function, *arrays):
        run = jax.jit(function)
        parts = [
            run(variables, *(a[first : first + _BATCH] for a in arrays)) for first in range(0, len(tested), _BATCH)
        ]
        return np.concatenate([np.asarray(part) for part in parts])

    latents = batched(lambda variables, x: model.apply(variables, x, method="encode"), inputs)
    return latent_experiments(
        lambda z, x: batched(lambda variables, z, x: model.apply(variables, z, x, method="decode"), z, x),
        latents,
        inputs,
        tested.labels,
    )


def _location(autoencoder: Restored) -> dict[str, Any]:
    """The frozen kernel, and its sum: what it makes of grey, in which a sum near 0 would leave nothing."""
    kernel = np.asarray(autoencoder.variables["params"]["location"]["kernel"]).ravel()
    return {"kernel": kernel.tolist(), "sum": float(kernel.sum())}


def _confusions(folder, classifier: Restored, slices: Slices, split: Split) -> dict[int, list[list[int]]]:
    """Confusion matrices of the held-out rows after the epochs of Figure 12 that the run has kept, and the last."""
    run, predict = Run(folder / CLASSIFIER), make_predict(classifier.config.task())
    rows = np.concatenate([split.validation, split.test])
    kept = _epochs(run.folder)
    matrices = {}
    for epoch in [epoch for epoch in kept if epoch in CONFUSION_EPOCHS or epoch == kept[-1]]:
        variables, _ = run.checkpoints.load(kept_name(epoch), classifier.variables)
        predicted = predict(variables, slices.images[rows], _BATCH).argmax(axis=1)
        matrix = np.zeros((len(CLASSES), len(CLASSES)), int)
        np.add.at(matrix, (slices.labels[rows], predicted), 1)
        matrices[epoch] = matrix.tolist()
    return matrices


def _figures(folder, report, pictures, tested: Slices, inputs, full, final, classifier: Restored) -> dict[str, Any]:
    """Figures 7 to 14 by name."""

    def history(name):
        text = (folder / name / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    drawn = {"figure_07": figures.loss_by_epoch(history(AUTOENCODER))}
    for number, name in (("08", "full"), ("09", "right"), ("10", "left")):
        errors = {epoch: values["mae"] for epoch, values in report["by_epoch"][name].items()}
        drawn[f"figure_{number}"] = figures.outputs_by_epoch(pictures[name], errors)
    drawn["figure_11"] = figures.accuracy_by_epoch(history(CLASSIFIER))
    drawn["figure_12"] = figures.confusion_by_epoch(report["confusion_by_epoch"], CLASSES)
    network = Classifier(classifier.model, classifier.variables)
    for number, step in (("13", 0), ("14", 1)):
        rows = [np.flatnonzero(tested.labels == label)[step] for label in range(len(CLASSES))]
        targets = jnp.argmax(network(inputs[rows]), axis=-1)
        heat = saliency.heat(np.asarray(gradient(network, jnp.asarray(inputs[rows]), targets, jax.random.key(0))))
        pictures = {"slice and tumour": inputs[rows], "U-Net's output": full[rows], "final U-Net's output": final[rows]}
        pictures |= {"gradient": heat, "gradient over the slice": (inputs[rows] + heat) / 2}
        titles = [
            f"{CLASSES[tested.labels[row]]}, called {CLASSES[target]}\n{tested.ids[row]}"
            for row, target in zip(rows, np.asarray(targets), strict=True)
        ]
        masks = None if tested.masks is None else tested.masks[rows]
        drawn[f"figure_{number}"] = saliency.panels(titles, pictures, masks)
    return drawn


def _page(report: dict, drawn: dict) -> tuple[str, list[dict]]:
    """Title and sections of unet.html."""
    captions = {
        "figure_07": "Figure 7: mean absolute error by epoch.",
        "figure_08": "Figure 8: the U-Net's output after some epochs.",
        "figure_09": "Figure 9: the right model's, which has the location branch alone.",
        "figure_10": "Figure 10: the left model's, whose location branch is another random one.",
        "figure_11": "Figure 11: the encoder classifier's accuracy.",
        "figure_12": "Figure 12: confusion matrices of the held-out slices.",
        "figure_13": "Figure 13: saliency. The tumour is outlined in red.",
        "figure_14": "Figure 14: saliency of other slices.",
    }
    by_epoch = [
        [name, epoch, *(f"{value:.4f}" for value in values.values())]
        for name, epochs in report["by_epoch"].items()
        for epoch, values in epochs.items()
    ]
    latent = [
        [
            name,
            *(f"{report[which][name][key]:.4f}" for which in ("latent", "final_latent") for key in ("effect", "share")),
        ]
        for name in report["latent"]
    ]
    tables = [
        {
            "title": "Reconstruction of the test slices",
            "head": ["output", "epoch", "MAE", "PSNR (dB)", "SSIM"],
            "rows": by_epoch,
        },
        {
            "title": "What decides the output: its mean absolute change, and that over the difference of two images",
            "head": ["changed", "U-Net: change", "share", "final U-Net: change", "share"],
            "rows": latent,
        },
    ]
    sections = [{"title": "Scores", "tables": tables, "figures": []}]
    shown = [{"figure": figure, "caption": captions[name]} for name, figure in drawn.items()]
    sections.append({"title": "The paper's figures", "tables": [], "figures": shown})
    counts = f"{report['test_slices']} test slices, protocol {report['protocol']}, {report['data']}"
    return f"U-Net: {counts}", sections
