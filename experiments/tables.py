"""Markdown tables of the results files."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import interval, number, percent


def classifier_table(runs: list[dict[str, Any]]) -> str:
    """A table of runs: one row each, or one for the folds of a protocol; then the means of those that share one."""
    lines = [
        "| protocol | seed | test slices (patients) | test accuracy (95%) | by patient (95%) | macro F1 (95%) "
        "| log loss | calibration error | validation | linear model | class prior | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_protocol = {protocol: [run for run in runs if run["protocol"] == protocol] for protocol in _protocols(runs)}
    for protocol, group in by_protocol.items():
        for seed in dict.fromkeys(run["config"]["seed"] for run in group):
            of_seed = [run for run in group if run["config"]["seed"] == seed]
            lines += [_fold_row(protocol, of_seed)] if is_whole(of_seed) else [_run_row(run) for run in of_seed]
    for protocol, group in by_protocol.items():
        if protocol == "slice" and len(group) > 1:
            test, held_out, validation = (mean_accuracy(group, side) for side in ("test", "held_out", "validation"))
            lines.append(
                f"\nMean of the {len(group)} `{protocol}` runs: **{percent(test)}** test, {percent(validation)} "
                f"validation, {percent(held_out)} over both (validation chose the checkpoint)."
            )
    if any(not is_whole(group) and protocol != "slice" for protocol, group in by_protocol.items()):
        lines.append("\nRows that name a fold are that single fold and seed, not a cross-validation.")
    return "\n".join(lines)


def external_table(result: dict[str, Any]) -> str:
    """A test on other data by class, with what was left out."""
    counts, test = result["counts"], result["test"]
    linked = counts["linked"] or {}
    lines = [
        f"Trained on: {result['own']['form']}. Tested on: {result['other']['form']}; nothing was chosen on them.",
        "",
        "| class | slices | linked to the run's own data | tested | recall (95%) | precision (95%) |",
        "|---|---|---|---|---|---|",
    ]
    for name, scores in test["per_class"].items():
        tested = scores["support"]
        lines.append(
            f"| {name} | {tested + linked.get(name, 0)} | {linked.get(name, 'not looked for')} | {tested} "
            f"| {with_interval(scores, 'recall')} "
            f"| {with_interval(scores, 'precision')} |"
        )
    lines += [
        "",
        f"Accuracy **{with_interval(test, 'accuracy')}** of {counts['tested']} slices, resampled by "
        f"{test['interval']['unit']}; class frequencies alone have "
        f"{percent(result['baselines']['class_prior']['accuracy'])}.",
    ]
    if result["linked_too"]:
        both = result["linked_too"]
        lines[-1] += (
            f" With the linked slices, which show the run's own patients, it would read "
            f"{percent(both['accuracy'])} of {both['slices']}."
        )
    for name, called in result["unknown_predictions"].items():
        told = ", ".join(f"{count} {guess}" for guess, count in called.items())
        lines.append(f"\nThe model does not know {name}; its {sum(called.values())} slices are called: {told}.")
    return "\n".join(lines)


def is_whole(runs: list[dict[str, Any]]) -> bool:
    """Whether runs are all folds of a protocol whose folds test every slice once."""
    folds = sorted(run["split"]["fold"] for run in runs)
    return runs[0]["protocol"] != "slice" and folds == list(range(runs[0]["split"]["folds"]))


def mean_accuracy(runs: list[dict[str, Any]], side: str) -> float:
    """The mean of some runs' accuracies on a side."""
    return sum(run[side]["accuracy"] for run in runs) / len(runs)


def _protocols(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["protocol"] for run in runs))


def run_name(run: dict[str, Any]) -> str:
    """The protocol of a run, with its fold where that is one of several."""
    return run["protocol"] if run["protocol"] == "slice" else f"{run['protocol']}, fold {run['split']['fold']}"


def _run_row(run: dict[str, Any]) -> str:
    counts, test = run["counts"]["test"], run["test"]
    cells = [
        run_name(run),
        run["config"]["seed"],
        f"{counts['slices']} ({counts['patients']})",
        f"**{percent(test['accuracy'])}**{_bounds(test, 'accuracy')}",
        "" if test["by_patient"] is None else with_interval(test["by_patient"], "accuracy"),
        with_interval(test, "macro_f1"),
        _optional(test, "log_loss"),
        _optional(test, "expected_calibration_error", percent),
        "" if run["validation"] is None else percent(run["validation"]["accuracy"]),
        *(percent(run["baselines"][name]["accuracy"]) for name in ("linear_model", "class_prior")),
        f"{run['training']['seconds'] / 60:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _fold_row(protocol: str, runs: list[dict[str, Any]]) -> str:
    """One row for the folds of a protocol: every slice is tested once, accuracies are pooled over all of them."""
    slices = [run["test"]["slices"] for run in runs]
    patients = [run["counts"]["test"]["patients"] for run in runs]

    def pooled(values: list[Any], weights: list[int]) -> str:
        if None in values:
            return ""
        return percent(sum(n * value for n, value in zip(weights, values, strict=True)) / sum(weights))

    accuracies = [run["test"]["accuracy"] for run in runs]
    of_patients = [(run["test"]["by_patient"] or {}).get("accuracy") for run in runs]
    cells = [
        f"{protocol}, {len(runs)} folds",
        runs[0]["config"]["seed"],
        f"{sum(slices)} ({sum(patients)})",
        f"**{pooled(accuracies, slices)}** (folds {interval([min(accuracies), max(accuracies)])}, no interval)",
        pooled(of_patients, patients),
        pooled([run["test"]["macro_f1"] for run in runs], slices),
        "",
        "",
        pooled([(run["validation"] or {}).get("accuracy") for run in runs], slices),
        *(
            pooled([run["baselines"][name]["accuracy"] for run in runs], slices)
            for name in ("linear_model", "class_prior")
        ),
        f"{sum(run['training']['seconds'] for run in runs) / 60:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _optional(scores: dict[str, Any], name: str, form: Any = number) -> str:
    """A value that older files do not have."""
    return form(scores[name]) if name in scores else ""


def _bounds(scores: dict[str, Any], name: str) -> str:
    bounds = scores.get(f"{name}_ci95")
    return f" ({interval(bounds)})" if bounds else ""


def with_interval(scores: dict[str, Any], name: str) -> str:
    """A share with its interval, in percent."""
    return f"{percent(scores[name])}{_bounds(scores, name)}"


def speed_table(result: dict[str, Any]) -> str:
    """What `scripts/bench` measured on one device: a row for each model, then what is measured of btjax alone."""
    lines = [
        f"On {result.get('device', 'cpu')}, by `scripts/bench`. Forms take turns, ratios are medians of the rounds; "
        "above 1 btjax is faster. Operations are counted as those of a plain convolution: Winograd's takes fewer, so "
        "shares of the peak may exceed 100%.\n",
        "| case | jax | btjax ms an image | of matmul peak | fastest PyTorch form | its time over btjax "
        "| fastest Keras form | its time over btjax |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, case in result["cases"].items():
        if "forms" not in case:
            notes.append(_speed_note(name, case))
            continue
        jax = case.get("versions", {}).get("jax", "")  # older results do not say
        for suffix in ("", "_bfloat16"):
            forms = {form: row for form, row in case["forms"].items() if form.endswith("_bfloat16") == bool(suffix)}
            own = forms.get(f"btjax{suffix}")
            if own is None:
                continue
            peers = [_fastest(forms, frameworks, suffix) for frameworks in (("torch", "captum"), ("keras",))]
            lines.append(
                f"| {name}{', bfloat16' if suffix else ''} | {jax} | {_milliseconds(own['ms_per_image'][1])} "
                f"| {100 * own['share_of_matmul_peak']:.0f}% | {' | '.join(peers)} |"
            )
    return "\n".join([*lines, "", *notes] if notes else lines)


def _fastest(forms: dict[str, Any], frameworks: tuple[str, ...], suffix: str) -> str:
    """Two cells: the form of some frameworks with the least time, and its time over btjax's."""
    ratios = {
        form.removesuffix(suffix).removeprefix(f"{frameworks[0]}_"): row["time_over_btjax"]
        for form, row in forms.items()
        if form.startswith(frameworks)
    }
    if not ratios:
        return "|"
    fastest = min(ratios, key=lambda form: ratios[form])
    return f"{fastest} | {ratios[fastest]:.2f}"


def _speed_note(name: str, case: dict[str, Any]) -> str:
    """A line on what was measured of btjax alone."""
    if name == "layers":
        pieces = ("forward", "image_gradient", "kernel_gradient")
        shares = [[100 * layer[piece]["share_of_matmul_peak"] for layer in case["layers"].values()] for piece in pieces]
        parts = (
            f"{piece.replace('_', ' ')} {min(values):.0f} to {max(values):.0f}%"
            for piece, values in zip(pieces, shares, strict=True)
        )
        return f"- The paper's convolutions of 512 filters and more, of matmul peak: {', '.join(parts)}."
    if name == "epoch":
        return (
            f"- An epoch of {case['steps']} steps by the training loop takes {100 * case['overhead']:+.1f}% over its "
            "compiled steps."
        )
    return (
        f"- {case['folds']} folds one after the other take {case['ratio']:.2f} times as long as in one program, "
        f"{case['epoch_ratio']:.2f} times without compilation."
    )


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def unet_table(result: dict[str, Any]) -> str:
    """Tables of a U-Net's scores on its test slices, and of what decides its output."""
    test, held_out = (result["classifier"][side] for side in ("test", "held_out"))
    lines = [
        f"{result['test_slices']} test slices, protocol `{result['protocol']}`. The encoder classifier's test accuracy "
        f"is **{percent(test['accuracy'])}**{_bounds(test, 'accuracy')} on {test['slices']} slices; with the "
        f"validation slices, which chose its checkpoint, it is {percent(held_out['accuracy'])} of "
        f"{held_out['slices']}.\n",
        "| output | epoch | MAE | PSNR (dB) | SSIM |",
        "|---|---|---|---|---|",
    ]
    for name, epochs in result["by_epoch"].items():
        epoch, scores = list(epochs.items())[-1]
        lines.append(f"| {name} | {epoch} | {_reconstruction_cells(scores)} |")
    for name, scores in (("full, best epoch", result["reconstruction"]), ("final", result["final"])):
        lines.append(f"| {name} | | {_reconstruction_cells(scores)} |")
    lines += [
        "\nWhat decides the output: its mean absolute change when a part is replaced, as a share of the difference "
        "between two images' outputs.\n",
        "| replaced | U-Net | final U-Net |",
        "|---|---|---|",
    ]
    for name, scores in result["latent"].items():
        if name != "full":
            final = result["final_latent"][name]
            lines.append(f"| {name} | {with_interval(scores, 'share')} | {with_interval(final, 'share')} |")
    return "\n".join(lines)


def _reconstruction_cells(scores: dict[str, Any]) -> str:
    cells = []
    for name, digits in (("mae", 4), ("psnr", 1), ("ssim", 3)):
        bounds = scores.get(f"{name}_ci95")
        shown = f" ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else ""
        cells.append(f"{scores[name]:.{digits}f}{shown}")
    return " | ".join(cells)


def variants_table(variants: dict[str, dict[str, Any]]) -> str:
    """A table of U-Nets that differ in their dropout: their reconstructions, and what decides these."""
    first = next(iter(variants.values()))
    size, epochs = first["config"]["data"]["image_size"], first["config"]["training"]["epochs"]
    lines = [
        f"`unet_cpu.flags` with `--image_size={size} --epochs={epochs}`, {first['test_slices']} test slices, protocol "
        f"`{first['protocol']}`: dropout in the decoder, and the share of training images whose location channel is "
        "blanked (`--dropout`, `--skip_dropout`). Shares as above; the final U-Nets have one encoder, trained to "
        "classify.\n",
        "| dropout | skip dropout | MAE | PSNR (dB) | SSIM | latent of another class | location of another class "
        "| final: latent | final: location |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in variants.values():
        model = one["config"]["model"]
        shares = [
            with_interval(one[table][f"{part} of another class"], "share")
            for table in ("latent", "final_latent")
            for part in ("latent", "location")
        ]
        lines.append(
            f"| {model['dropout']} | {model['skip_dropout']} | {_reconstruction_cells(one['reconstruction'])} "
            f"| {' | '.join(shares)} |"
        )
    return "\n".join(lines)


def saliency_table(results: dict[str, dict[str, Any]], score: str = "average_precision") -> str:
    """A table of saliency runs: for all test slices and each class the best method beside the best control."""
    lines = [
        f"{score.replace('_', ' ').capitalize()} of the map's pixels against the tumour mask, mean over test slices; "
        "`gradient` is the paper's map, noise is chance. The method that beats its best control by most is named after "
        "the fact, on these slices, which flatters it. Methods of many passes explain a drawn part of the slices, as "
        "many of each class; the difference and its interval are always of the same slices. Intervals resample "
        "patients.\n",
        "| run | removed pixels | slices | noise | gradient | best method | its slices | mean | best control "
        "| better by (95%) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        title = f"{name}: {result['test_slices']} slices, accuracy {percent(result['accuracy'])}"
        baseline = result["saliency"]["baseline"]
        tested = {row["value"] for row in result["localisation"]["comparison"] if row["group"] == "class"}
        for group, value in (("all", "all"), *(("class", label) for label in result["classes"] if label in tested)):
            lines.append(f"| {title} | {baseline} | {_saliency_row(result, score, group, value)} |")
            title = baseline = ""
    return "\n".join(lines)


def saliency_rows(result: dict[str, Any], table: str, **wanted: str) -> list[dict[str, Any]]:
    """The rows of a table of a saliency result that have the wanted values."""
    rows = result["localisation"][table]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _saliency_row(result: dict[str, Any], score: str, group: str, value: str) -> str:
    keys = {"score": score, "group": group, "value": value}
    (noise,) = saliency_rows(result, "controls", method="noise", **keys)
    compared = saliency_rows(result, "comparison", **keys)
    gradient = next((number(row["mean"]) for row in compared if row["method"] == "gradient"), "")
    best = max(compared, key=lambda row: row["difference"])
    patients = "" if best["patients"] is None else f" ({best['patients']} patients)"
    return (
        f"{value} | {number(noise['mean'])} | {gradient} | {best['method']} | {best['slices']}{patients} "
        f"| {number(best['mean'])} | {best['best_control']} {number(best['control_mean'])} | {difference(best)}"
    )


def difference(row: dict[str, Any]) -> str:
    """By how much a method beats its best control, with the interval."""
    bounds = row["difference_ci95"]
    shown = f" ({bounds[0]:+.3f} to {bounds[1]:+.3f})" if bounds else ""
    return f"{row['difference']:+.3f}{shown}"
