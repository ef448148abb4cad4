"""The tables of U-Nets: reconstructions, and what decides these."""

from __future__ import annotations

from typing import Any

from experiments.tables.cells import number_cell, with_interval


def unet_table(result: dict[str, Any]) -> str:
    """Tables of a U-Net's scores on its test slices, and of what decides its output."""
    test, held_out = (result["classifier"][side] for side in ("test", "held_out"))
    lines = [
        f"{result['test_slices']} test slices, protocol `{result['protocol']}`. The encoder classifier's test accuracy "
        f"is **{with_interval(test, 'accuracy')}** of {test['slices']} slices. With the validation slices, which chose "
        f"its checkpoint, it would read {with_interval(held_out, 'accuracy')} of {held_out['slices']}.\n",
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


def _reconstruction_cells(scores: dict[str, Any]) -> str:
    return " | ".join(number_cell(scores, name, digits) for name, digits in (("mae", 4), ("psnr", 1), ("ssim", 3)))
