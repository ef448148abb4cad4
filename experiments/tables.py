"""Markdown tables of the results files, for the README."""

from __future__ import annotations


def classifier_table(runs: list[dict]) -> str:
    """A Markdown table of runs: one row each, and one with the means of those that share a protocol."""
    lines = [
        "| protocol | seed | test slices (patients) | test accuracy (95%) | by patient | macro F1 | validation "
        "| linear model | class prior | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for protocol in dict.fromkeys(run["protocol"] for run in runs):
        group = [run for run in runs if run["protocol"] == protocol]
        if protocol != "slice" and len(group) > 1:
            lines.append(_fold_row(protocol, group))
        else:
            lines += [_run_row(run) for run in group]
    for protocol in dict.fromkeys(run["protocol"] for run in runs):
        group = [run for run in runs if run["protocol"] == protocol]
        if len(group) > 1 and protocol == "slice":
            test, held_out, validation = (
                sum(run[side]["accuracy"] for run in group) / len(group) for side in ("test", "held_out", "validation")
            )
            lines.append(
                f"\nMean of the {len(group)} `{protocol}` runs: **{_percent(test)}** test, {_percent(validation)} "
                f"validation, {_percent(held_out)} over both (validation chose the checkpoint)."
            )
    return "\n".join(lines)


def _run_row(run: dict) -> str:
    """One row for one run."""
    counts, by_patient = run["counts"]["test"], run["test_by_patient"]
    name = run["protocol"] if run["protocol"] == "slice" else f"{run['protocol']}, fold {run['split']['fold']}"
    return (
        f"| {name} | {run['split']['seed']} | {counts['slices']} ({counts['patients']}) "
        f"| {_with_interval(run['test'])} | {'' if by_patient is None else _percent(by_patient['accuracy'])} "
        f"| {_percent(run['test']['macro_f1'])} | {_percent(run['validation']['accuracy'])} "
        f"| {_percent(run['baselines']['linear_model'])} | {_percent(run['baselines']['class_prior'])} "
        f"| {run['training']['seconds'] / 60:.0f} |"
    )


def _fold_row(protocol: str, runs: list[dict]) -> str:
    """One row for the folds of a protocol: every slice is tested once, accuracies are pooled over all of them."""
    slices = [run["test"]["slices"] for run in runs]
    patients = sum(run["counts"]["test"]["patients"] for run in runs)

    def pooled(values) -> str:
        return _percent(sum(n * value for n, value in zip(slices, values, strict=True)) / sum(slices))

    accuracies = [run["test"]["accuracy"] for run in runs]
    of_patients = [run["test_by_patient"] for run in runs]
    by_patient = None
    if None not in of_patients:
        pairs = zip(runs, of_patients, strict=True)
        by_patient = sum(run["counts"]["test"]["patients"] * scores["accuracy"] for run, scores in pairs) / patients
    baselines = (pooled(run["baselines"][name] for run in runs) for name in ("linear_model", "class_prior"))
    return (
        f"| {protocol}, {len(runs)} folds | {runs[0]['split']['seed']} | {sum(slices)} ({patients}) "
        f"| **{pooled(accuracies)}** (folds {_percent(min(accuracies))} to {_percent(max(accuracies))}) "
        f"| {_percent(by_patient)} | {pooled(run['test']['macro_f1'] for run in runs)} "
        f"| {pooled(run['validation']['accuracy'] for run in runs)} | {' | '.join(baselines)} "
        f"| {sum(run['training']['seconds'] for run in runs) / 60:.0f} |"
    )


def speed_table(result: dict) -> str:
    """What `scripts/bench` measured on one device: a row for each model, then what is measured of btjax alone."""
    lines = [
        f"Speed on {result.get('device', 'cpu')} (`scripts/bench`; forms take turns, ratios are medians of the rounds; "
        "above 1 btjax is faster; operations are counted as a plain convolution's: Winograd's takes fewer, so shares "
        "of the peak may exceed 100%):\n",
        "| case | jax | btjax ms an image | of matmul peak | fastest PyTorch form | its time over btjax "
        "| fastest Keras form | its time over btjax |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, case in result["cases"].items():
        if "forms" not in case:
            notes.append(_speed_note(name, case))
            continue
        jax = case.get("versions", {}).get("jax", "")  # not in results of before versions were kept
        for suffix in ("", "_bfloat16"):
            forms = {form: row for form, row in case["forms"].items() if form.endswith("_bfloat16") == bool(suffix)}
            own = forms.get(f"btjax{suffix}")
            if own is None:
                continue
            peers = [_fastest(forms, frameworks, suffix) for frameworks in (("torch", "captum"), ("keras",))]
            lines.append(
                f"| {name}{', bfloat16' if suffix else ''} | {jax} | {_short(own['ms_per_image'][1])} "
                f"| {100 * own['share_of_matmul_peak']:.0f}% | {' | '.join(peers)} |"
            )
    return "\n".join([*lines, "", *notes] if notes else lines)


def _fastest(forms: dict, frameworks: tuple[str, ...], suffix: str) -> str:
    """Two cells: the form of some frameworks with the least time, and its time over btjax's."""
    ratios = {
        form.removesuffix(suffix).removeprefix(f"{frameworks[0]}_"): row["time_over_btjax"]
        for form, row in forms.items()
        if form.startswith(frameworks)
    }
    if not ratios:
        return "|"
    fastest = min(ratios, key=ratios.get)
    return f"{fastest} | {ratios[fastest]:.2f}"


def _speed_note(name: str, case: dict) -> str:
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


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _with_interval(scores: dict) -> str:
    if scores["accuracy_ci95"] is None:
        return f"**{_percent(scores['accuracy'])}**"
    low, high = scores["accuracy_ci95"]
    return f"**{_percent(scores['accuracy'])}** ({_percent(low)} to {_percent(high)})"


def unet_table(result: dict) -> str:
    """Markdown tables of a U-Net's scores on its test slices, and of what decides its output."""
    lines = [
        f"{result['test_slices']} test slices, protocol `{result['protocol']}`; the encoder classifier has "
        f"**{_percent(result['classifier']['held_out']['accuracy'])}%** of its "
        f"{result['classifier']['held_out']['slices']} held-out slices right (95% "
        f"{_percent(result['classifier']['held_out']['accuracy_ci95'][0])} to "
        f"{_percent(result['classifier']['held_out']['accuracy_ci95'][1])}), "
        f"{_percent(result['classifier']['test']['accuracy'])}% of the test slices alone.\n",
        "| output | epoch | MAE | PSNR (dB) | SSIM |",
        "|---|---|---|---|---|",
    ]
    for name, epochs in result["by_epoch"].items():
        epoch, scores = list(epochs.items())[-1]
        lines.append(f"| {name} | {epoch} | {scores['mae']:.4f} | {scores['psnr']:.1f} | {scores['ssim']:.3f} |")
    for name, scores in (("full, best epoch", result["reconstruction"]), ("final", result["final"])):
        lines.append(f"| {name} | | {scores['mae']:.4f} | {scores['psnr']:.1f} | {scores['ssim']:.3f} |")
    lines += [
        "\nWhat decides the output: its mean absolute change when a part is replaced, as a share of the difference "
        "between two images' outputs.\n",
        "| replaced | U-Net | final U-Net |",
        "|---|---|---|",
    ]
    for name, scores in result["latent"].items():
        if name != "full":
            final = result["final_latent"][name]
            lines.append(f"| {name} | {_percent(scores['share'])}% | {_percent(final['share'])}% |")
    return "\n".join(lines)


def variants_table(variants: dict[str, dict]) -> str:
    """A Markdown table of U-Nets that differ in their dropout: what they make, and what decides it."""
    first = next(iter(variants.values()))
    size, epochs = first["config"]["data"]["image_size"], first["config"]["training"]["epochs"]
    lines = [
        f"`unet_cpu.flags` with `--image_size={size} --epochs={epochs}`, "
        f"{first['test_slices']} test slices, protocol `{first['protocol']}`: dropout in the decoder, and the share of "
        "training images whose location channel is blanked (`--dropout`, `--skip_dropout`). Shares as above; the final "
        "U-Nets have one encoder, trained to classify.\n",
        "| dropout | skip dropout | MAE | PSNR (dB) | SSIM | latent of another class | location of another class "
        "| final: latent | final: location |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in variants.values():
        model, scores = one["config"]["model"], one["reconstruction"]
        shares = [
            f"{_percent(one[table][f'{part} of another class']['share'])}%"
            for table in ("latent", "final_latent")
            for part in ("latent", "location")
        ]
        lines.append(
            f"| {model['dropout']} | {model['skip_dropout']} | {scores['mae']:.4f} | {scores['psnr']:.1f} "
            f"| {scores['ssim']:.3f} | {' | '.join(shares)} |"
        )
    return "\n".join(lines)


def saliency_table(results: dict[str, dict], score: str = "average_precision") -> str:
    """A Markdown table of saliency runs: for all test slices and each class the best method beside the best control."""
    lines = [
        f"Saliency: {score.replace('_', ' ')} of the map's pixels against the tumour mask, mean over test slices; "
        "`gradient` is the paper's map, noise is chance. The method that beats its best control by most is named after "
        "the fact, on these slices, which flatters it. Methods of many passes explain a drawn part of the slices, as "
        "many of each class; the difference and its interval are always of the same slices.\n",
        "| run | slices | noise | gradient | best method | its slices | mean | best control | better by (95%) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        title = f"{name}: {result['test_slices']} slices, accuracy {_percent(result['accuracy'])}%"
        tested = {row["value"] for row in result["comparison"] if row["group"] == "class"}
        for group, value in (("all", "all"), *(("class", label) for label in result["classes"] if label in tested)):
            lines.append(f"| {title} | {_saliency_row(result, score, group, value)} |")
            title = ""
    return "\n".join(lines)


def _saliency_row(result: dict, score: str, group: str, value: str) -> str:
    def of(table):
        keys = {"score": score, "group": group, "value": value}
        return [row for row in result[table] if all(row[key] == wanted for key, wanted in keys.items())]

    noise = next(row["mean"] for row in of("controls") if row["method"] == "noise")
    gradient = next((f"{row['mean']:.3f}" for row in of("comparison") if row["method"] == "gradient"), "")
    best = max(of("comparison"), key=lambda row: row["difference"])
    patients = "" if best["patients"] is None else f" ({best['patients']} patients)"
    low, high = best["difference_ci95"] or (float("nan"), float("nan"))
    return (
        f"{value} | {noise:.3f} | {gradient} | {best['method']} | {best['slices']}{patients} "
        f"| {best['mean']:.3f} | {best['best_control']} {best['control_mean']:.3f} "
        f"| {best['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    )
