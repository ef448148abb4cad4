"""The README's lines, each from a results file."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import interval, percent
from btjax.studies.regions import BEST
from btjax.systems.presets import preset
from experiments.tables.bench import speed_headline
from experiments.tables.cells import NONE, estimate, number_cell, with_interval
from experiments.tables.classifiers import is_whole, mean_accuracy
from experiments.tables.ladders import cells_in_words, ladder_headline, leak_lines, source_lines
from experiments.tables.presets import other_options
from experiments.tables.saliency import mean, saliency_rows

Results = dict[str, dict[str, Any]]

_LADDERS = {"cnn_cpu": "CNN, 128 px", "vgg16_paper": "VGG16, frozen"}
"""Presets whose ladder the README tells, and what it calls them."""

_BACKBONES = {
    "efficientnet_b0_cpu": "EfficientNet-B0, frozen",
    "efficientnet_b0_finetune": "EfficientNet-B0, last block trained",
    "resnet50_cpu": "ResNet50, frozen",
    "resnet50_finetune": "ResNet50, last group trained",
}
"""Presets on ImageNet's weights whose ladders share one line."""

_JOINT = "joint_efficientnet_cpu"
"""The preset of the network that outlines on ImageNet's weights."""


def result_lines(results: Results) -> str:
    """The README's lines: one for each system and protocol that has a results file, the maps and the speed."""
    lines = [line for name, title in _LADDERS.items() for line in _system_lines(name, title, results)]
    lines += [f"- {line}" for line in (_backbones_line(results), _stages_line(results)) if line]
    if "ladder_linear_cpu" in results:
        floor = ladder_headline(results["ladder_linear_cpu"])
        lines.append(f"- Linear model of 32x32 pixels, the floor, {floor}")
    if "external_four_class" in results:
        lines.append(f"- {_external_line(results['external_four_class'])}")
    if "unet_cpu" in results:
        lines.append(f"- {_unet_line(results['unet_cpu'])}{_encoder_line(results)}")
    if cheng := [_cheng_line(name, results) for name in ("regions_official", "retrieval_official") if name in results]:
        lines.append(f"- {'. '.join(cheng)}")
    if "saliency_cnn_family" in results:
        lines.append(f"- {_maps_line(results['saliency_cnn_family'])}")
    if joint := _joint_line(results):
        lines.append(f"- {joint}")
    if "options_joint" in results:
        lines.append(f"- {_masks_line(results['options_joint']['by_options'])}")
    benches = {name: result for name, result in results.items() if "machine" in result}
    if benches:
        lines.append(f"- {speed_headline(benches)}")
    intervals = (
        f"Parentheses hold 95% intervals, by family or patient unless a line says otherwise; {NONE}: none was "
        "computed. Those of the external set, the U-Net, the CNN's maps and some single runs are percentile "
        "bootstraps, which are too narrow (see the results). A single fold or seed is called that."
    )
    return f"{intervals} `slice` puts most patients on both sides, `linked` many, `family` none.\n\n" + "\n".join(lines)


def _system_lines(name: str, title: str, results: Results) -> list[str]:
    """A system's ladder; its single runs of other protocols; the size of the leak and of the source confound."""
    ladder, runs = results.get(f"ladder_{name}"), results.get(name, {}).get("runs", [])
    if ladder is None:
        return [f"- {title}, {'; '.join(_protocol_lines(runs))}"] if runs else []
    others = other_options(name, ladder["config"])
    # A ladder of the preset's own options stands in the place of single runs of its protocols.
    told = [] if others else [rung["name"] for rung in ladder["rungs"]]
    whole = f"- {title}, {others}{', ' * bool(others)}{ladder_headline(ladder)}"
    single = "; ".join(_protocol_lines([run for run in runs if run["protocol"] not in told]))
    sizes = " ".join((*leak_lines(ladder)[-1:], *source_lines(ladder)[:1]))
    return [whole, *([f"- {title}, {single}"] if single else []), *([f"- {sizes}"] if sizes else [])]


def _backbones_line(results: Results) -> str:
    """ImageNet's networks under the strict protocols, each as far as it was measured."""
    told = []
    for name, title in _BACKBONES.items():
        rungs = {rung["name"]: rung for rung in results.get(f"ladder_{name}", {}).get("rungs", [])}
        shown = [
            f"`{one}` **{with_interval(rungs[one]['scores'], 'accuracy')}** ({cells_in_words(rungs[one])})"
            for one in ("official", "family")
            if one in rungs
        ]
        told += [f"{title}: {', '.join(shown)}"] if shown else []
    return f"On ImageNet's weights, 160 px. {'; '.join(told)}" if told else ""


def _stages_line(results: Results) -> str:
    """The hierarchy beside one flat network on four classes."""
    told = []
    for name, title in {"hdl2bt_cpu": "HDL2BT's two CNNs", "cnn_four_class_cpu": "one flat CNN"}.items():
        lines = _protocol_lines(results.get(name, {}).get("runs", []))
        told += [f"{title}, {'; '.join(lines)}"] if lines else []
    what = "Four classes, 64 px, intervals by slice since patients are unknown, no-tumour slices from other sources"
    return f"{what}: {'; '.join(told)}" if told else ""


def _encoder_line(results: Results) -> str:
    """What is added on folds of the U-Net's classifier, on its short schedule."""
    ladder = results.get("ladder_encoder_classifier_cpu")
    if ladder is None:
        return ""
    return f"; on a schedule of {ladder['config']['training']['epochs']} epochs, {ladder_headline(ladder)}"


def _protocol_lines(runs: list[dict[str, Any]]) -> list[str]:
    """One line for each of `slice`, `linked` and `family` of a system."""
    lines = []
    for protocol in ("slice", "linked", "family"):
        group = [run for run in runs if run["protocol"] == protocol]
        if len(group) > 1 and protocol == "slice":
            seeds = ", ".join(with_interval(run["test"], "accuracy") for run in group)
            mean = f"{percent(mean_accuracy(group, 'test'))} {NONE}"
            lines.append(f"`slice`: **{mean}** test accuracy, mean of {len(group)} seeds: {seeds}")
        elif group and is_whole(group):
            total = sum(run["test"]["slices"] for run in group)
            pooled = sum(run["test"]["slices"] * run["test"]["accuracy"] for run in group) / total
            accuracies = [run["test"]["accuracy"] for run in group]
            spread = f"lowest fold {percent(min(accuracies))}, highest {percent(max(accuracies))}"
            lines.append(f"`{protocol}`, {len(group)} folds: **{percent(pooled)} {NONE}** of {total} slices, {spread}")
        for run in group[:1] if group and not is_whole(group) and (protocol != "slice" or len(group) == 1) else []:
            kind = f"`{protocol}`, one seed" if protocol == "slice" else f"`{protocol}`, one fold and seed"
            lines.append(f"{kind}: **{with_interval(run['test'], 'accuracy')}** of {run['test']['slices']} slices")
    return lines


def _external_line(result: dict[str, Any]) -> str:
    counts, test, config = result["counts"], result["test"], result["config"]
    linked, tested = sum((counts["linked"] or {}).values()), counts["tested"]
    each = ", ".join(f"{one['support']} {name}" for name, one in test["per_class"].items() if one["support"])
    trained = f"`{config['data']['protocol']}` (seed {config['seed']})"
    return (
        f"CNN, 128 px, trained under {trained}, on a four-class set: {linked} of its {tested + linked} slices with a "
        f"tumour are linked to the published ones; of the other {tested} ({each}) it classifies "
        f"**{with_interval(test, 'accuracy')}**"
    )


def _unet_line(result: dict[str, Any]) -> str:
    test, error = result["classifier"]["test"], number_cell(result["reconstruction"], "mae")
    return (
        f"U-Net, 128 px, `{result['protocol']}`, one seed: mean absolute error {error}; its encoder classifies "
        f"**{with_interval(test, 'accuracy')}** of {test['slices']} test slices"
    )


def _cheng_line(name: str, results: Results) -> str:
    """Cheng's systems under the authors' folds, beside what is published, and without true outlines if measured."""
    result = results[name]
    if "cells" in result:
        best, what = _cell(result), "Texture of the tumour's region (Cheng et al. 2015), "
        published, mean, scores = best["cell"]["published"], best["mean"], with_interval(best["scores"], "accuracy")
    else:
        best, what = result["compared"][0], "Retrieval (Cheng et al. 2016), mean average precision, "
        published, mean, scores = best["published"], best["mean"], _told(best["scores"]["average_precision"])
    predicted = results.get(name.replace("official", "family_outlines"))
    if predicted and "cells" in predicted:
        others = f"; `family`, predicted outlines: {with_interval(_cell(predicted)['scores'], 'accuracy')}"
    elif predicted:
        others = f"; `family`, predicted outlines: {_told(predicted['compared'][0]['scores']['average_precision'])}"
    else:
        others = ""
    return (
        f"{what}`{result['config']['data']['protocol']}`, **true outlines**: **{scores}**, mean of folds "
        f"{100 * mean:.2f}, published {published:.2f}{others}"
    )


def _cell(result: dict[str, Any]) -> dict[str, Any]:
    """The cell that the paper calls its best: words in two rings."""
    return next(one for one in result["cells"] if one["cell"]["name"] == BEST)


def _told(estimate: dict[str, Any]) -> str:
    return f"{percent(estimate['value'])} ({interval(estimate['ci95'])})"


def _joint_line(results: Results) -> str:
    """The network that outlines on ImageNet's weights: its class, its outline and where it points."""
    told, size = [], preset(_JOINT).data.image_size
    for name in (f"ladder_{_JOINT}", f"ladder_{_JOINT}_refit"):
        for rung in results.get(name, {}).get("rungs", []):
            outlines, others = rung.get("outlines"), other_options(_JOINT, results[name]["config"])
            if outlines is None:
                continue
            others = others.replace("`--refit`", "trained on the validation slices too")
            where = ", ".join(filter(None, [f"`{rung['name']}`", others]))
            told.append(
                f"{where} **{with_interval(rung['scores'], 'accuracy')}** of {rung['tested']} slices "
                f"({cells_in_words(rung)}), Dice {estimate(outlines['dice'])}, most certain pixel in the tumour in "
                f"{estimate(outlines['pointing'])} of them"
            )
    return (
        f"Joint network, EfficientNet-B0 on ImageNet's weights, taught by masks, {size} px: {'; '.join(told)}"
        if told
        else ""
    )


def _masks_line(runs: list[dict[str, Any]]) -> str:
    """What masks in training bring: the joint network under the options that a results file compares."""
    folds: dict[str, list[str]] = {}
    for run in runs:
        extra, training = run["config"].get("extra") or {}, run["config"]["training"]
        outlined, guided = extra.get("segmentation", 0) > 0, training.get("guidance", 0) > 0
        guide = training.get("guidance_map", "grad_cam")
        taught = " and ".join([*["outlines"] * outlined, *[f"{guide} guided by masks"] * guided]) or "no masks"
        place = f"fold {run['split']['fold']}, seed {run['config']['seed']}"
        scores = f"{with_interval(run['test'], 'accuracy')}, {estimate(run['outlines']['pointing'])}"
        folds.setdefault(place, []).append(f"{taught} {scores}")
    size, protocol = runs[0]["config"]["data"]["image_size"], runs[0]["protocol"]
    told = ". ".join(f"{place.capitalize()}: {'; '.join(words)}" for place, words in folds.items())
    return (
        f"Joint network, {size} px, `{protocol}`: test accuracy, and share of slices whose most certain pixel lies in "
        f"the tumour, by what it learns from beside the classes. {told}"
    )


def _maps_line(result: dict[str, Any]) -> str:
    keys = {"score": "average_precision", "group": "all", "value": "all"}
    (gradient,) = saliency_rows(result, "scores", method="gradient", score="average_precision")
    noise, centre = (saliency_rows(result, "controls", method=name, **keys)[0] for name in ("noise", "centre"))
    return (
        f"Maps of the CNN, `{result['protocol']}`, one fold and seed: the gradient's average precision for the tumour "
        f"is {mean(gradient)}, noise has {mean(noise)}, and a Gaussian at the middle of the slice has {mean(centre)}"
    )
