"""The tables of what `scripts/bench` measured, a file for each machine."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import percent
from experiments.bench.cases import BFLOAT16, KEPT, SUFFIXES, suffix_of
from experiments.bench.growth import relative_times
from experiments.bench.machine import described
from experiments.tables.cells import with_interval

Results = dict[str, dict[str, Any]]

_LABELS = {"": "", KEPT: " with memory kept", BFLOAT16: ", bfloat16"}


def speed_section(results: Results, _: Results) -> str:
    """The section of every machine's results file: the range over the processors, then a table for each machine."""
    ranges = peer_ranges(results)
    rows = [f"| {case} | {span(values)} | {len(values)} |" for case, values in ranges.items()]
    over = [
        "The time of the fastest PyTorch (or captum) form over that of btjax depends on the processor. From the lowest "
        "to the highest of those that were measured:\n",
        "| case | time over btjax | processors |\n|---|---|---|",
        *rows,
    ]
    tables = (
        f"### {_title(result)}\n\n{speed_table(result)}{_picture(name, result)}" for name, result in results.items()
    )
    return "\n\n".join(["## Speed", *(["\n".join(over)] if rows else []), *tables])


def _picture(name: str, result: dict[str, Any]) -> str:
    """The link to what `scripts/bench --cases=growth` drew beside a results file; empty where it did not."""
    return (
        f"\n\n![How time and memory grow]({name.replace('bench', 'growth')}.svg)" if "growth" in result["cases"] else ""
    )


def _title(result: dict[str, Any]) -> str:
    """The machine of a results file, a GPU before its host."""
    host = described(result["machine"])
    return host if result["device"] == "cpu" else f"{result['device']}; {host}"


def peer_ranges(results: Results) -> dict[str, list[float]]:
    """By case the least time of a PyTorch or captum form over btjax's on each processor, sorted.

    Forms that keep freed memory are compared with each other.
    """
    ranges: dict[str, list[float]] = {}
    for result in results.values():
        for name, case in result["cases"].items() if result["device"] == "cpu" else ():
            for suffix, forms in _by_suffix(case.get("forms", {})).items():
                ratios = _ratios(forms, ("torch", "captum"))
                if ratios:
                    ranges.setdefault(name + _LABELS[suffix], []).append(min(ratios.values()))
    return {name: sorted(values) for name, values in ranges.items()}


def speed_headline(results: Results) -> str:
    """The README's part on speed: the ranges over the processors of some results files."""
    ranges, told = peer_ranges(results), []
    for count in sorted(set(map(len, ranges.values())), reverse=True):
        processors = "one processor" if count == 1 else f"{count} processors, the lowest and the highest"
        cases = ", ".join(f"{name} {span(values)}" for name, values in ranges.items() if len(values) == count)
        told.append(f"on {processors}: {cases}")
    return f"Speed on a CPU, the time of the fastest PyTorch form over btjax's, {'; '.join(told)}"


def span(values: list[float]) -> str:
    """Sorted ratios from the lowest to the highest."""
    ends = dict.fromkeys(f"{value:.2f}" for value in (values[0], values[-1]))
    return " to ".join(ends)


def speed_table(result: dict[str, Any]) -> str:
    """What `scripts/bench` measured on one device: a row for each model, then what is measured of btjax alone."""
    head = [
        f"On {result['device']}, by `scripts/bench`. Forms take turns, ratios are medians of the rounds; "
        "above 1 btjax is faster. Operations are counted as those of a plain convolution: Winograd's takes fewer, so "
        "shares of the peak may exceed 100%. With memory kept, a process keeps what it freed for the next step, as "
        "btjax's commands do.\n",
        "| case | jax | btjax ms an image | of matmul peak | fastest PyTorch form | its time over btjax "
        "| fastest Keras form | its time over btjax |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines, notes = [], []
    for name, case in result["cases"].items():
        if "forms" not in case:
            notes.append(_speed_note(name, case))
            continue
        jax = case.get("versions", {}).get("jax", "")  # older results do not say
        for suffix, forms in _by_suffix(case["forms"]).items():
            own = forms.get(f"btjax{suffix}")
            if own is None:
                continue
            peers = [_fastest(forms, frameworks, suffix) for frameworks in (("torch", "captum"), ("keras",))]
            lines.append(
                f"| {name}{_LABELS[suffix]} | {jax} | {_milliseconds(own['ms_per_image'][1])} "
                f"| {100 * own['share_of_matmul_peak']:.0f}% | {' | '.join(peers)} |"
            )
    parts = ["\n".join(part) for part in ([*head, *lines] if lines else [], notes) if part]
    return "\n\n".join(parts)


def _by_suffix(forms: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The forms of a case by the suffix that they are compared under, those without one first."""
    return {
        suffix: {form: row for form, row in forms.items() if suffix_of(form) == suffix}
        for suffix in SUFFIXES
        if any(suffix_of(form) == suffix for form in forms)
    }


def _fastest(forms: dict[str, Any], frameworks: tuple[str, ...], suffix: str) -> str:
    """Two cells: the form of some frameworks with the least time, and its time over btjax's."""
    ratios = _ratios(forms, frameworks)
    if not ratios:
        return "|"
    fastest = min(ratios, key=lambda form: ratios[form])
    return f"{fastest.removesuffix(suffix).removeprefix(f'{frameworks[0]}_')} | {ratios[fastest]:.2f}"


def _ratios(forms: dict[str, Any], frameworks: tuple[str, ...]) -> dict[str, float]:
    """The time of each form of some frameworks over btjax's."""
    return {form: row["time_over_btjax"] for form, row in forms.items() if form.startswith(frameworks)}


def _speed_note(name: str, case: dict[str, Any]) -> str:
    """Lines on what was measured of btjax alone."""
    return _NOTES[name](case)


def _layers_note(case: dict[str, Any]) -> str:
    pieces = ("forward", "image_gradient", "kernel_gradient")
    shares = [[100 * layer[piece]["share_of_matmul_peak"] for layer in case["layers"].values()] for piece in pieces]
    parts = (
        f"{piece.replace('_', ' ')} {min(values):.0f} to {max(values):.0f}%"
        for piece, values in zip(pieces, shares, strict=True)
    )
    return f"- The paper's convolutions of 512 filters and more, of matmul peak: {', '.join(parts)}."


def _epoch_note(case: dict[str, Any]) -> str:
    return (
        f"- An epoch of {case['steps']} steps by the training loop takes {100 * case['overhead']:+.1f}% over its "
        "compiled steps."
    )


def _predict_note(case: dict[str, Any]) -> str:
    speeds = (
        f"{one['system']} on PNG files of {one['picture_side']} px {100 * one['predict_share']:.0f}% "
        f"({100 * one['predict_always_share']:.0f}% with `--noabstain`)"
        for one in case["speeds"]
    )
    memory = (f"{mib} MiB with {int(files):,} files" for files, mib in case["memory_mib"].items())
    return (
        f"- Prediction from files, of the speed of the network alone: "
        f"{', '.join(speeds)}. Peak memory: {', '.join(memory)}."
    )


def _folds_note(case: dict[str, Any]) -> str:
    return (
        f"- {case['folds']} folds one after the other take {case['ratio']:.2f} times as long as in one program, "
        f"{case['epoch_ratio']:.2f} times without compilation."
    )


def _memory_note(case: dict[str, Any]) -> str:
    return "\n".join(
        f"- Memory of {preset}, {program}: {figures['argument_mib']:.0f} MiB of parameters, optimizer and slices, "
        f"{figures['temp_mib']:.0f} MiB besides; compiled in {figures['compile_seconds']:.0f} s."
        for preset, found in case["presets"].items()
        for program, figures in found.items()
    )


def _stream_note(case: dict[str, Any]) -> str:
    resident, streamed = (case[form]["peak_memory_mib"] for form in ("resident", "streamed"))
    return (
        f"- {case['slices']:,} slices at {case['image_size']} px read from files while training goes on, "
        f"the same {case.get('epoch', case['slices']):,} in each epoch: {100 * case['speed_share']:.1f}% of the speed "
        f"in memory, {case['cpu_ratio']:.2f} times its processor time, at most {streamed} MiB beside {resident} MiB."
    )


def _whole_note(case: dict[str, Any]) -> str:
    return "\n".join(f"- A whole run of {line}." for line in whole_lines(case))


def whole_lines(case: dict[str, Any]) -> list[str]:
    """Where the seconds of whole runs went: a line for each preset and state of the caches."""
    lines = []
    for preset, of_caches in case["presets"].items():
        for caches, run in of_caches.items():
            about = f"{run['slices']} slices, {run['epochs']} epochs, {caches} caches"
            lines.append(f"{preset}, {about}: {_seconds(run)}")
    return lines


def _seconds(run: dict[str, Any]) -> str:
    """How long something took, and its parts."""
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds"].items() if seconds >= 0.05)
    return f"{run['total']:.1f} s, of which {parts}"


def features_line(case: dict[str, Any]) -> str:
    """How fast a frozen network's features are computed and kept."""
    return (
        f"Frozen VGG16 features of {case['slices']} slices at {case['image_size']} px, from slices to files: "
        f"{case['features_ms_per_slice']:.1f} ms a slice, {100 * case['share']:.1f}% of the speed of the forward pass "
        f"alone, after {case['compile_seconds']:.1f} s of compiling"
    )


def saliency_lines(case: dict[str, Any]) -> list[str]:
    """Where the seconds went when runs were explained: a line for each run and state of the caches."""
    return [
        f"A run of {run['slices']} test slices at {run['image_size']} px explained, {run['system']}, methods of "
        f"hundreds of passes on {run['costly_slices']} of them, {caches} caches: {_seconds(run)}"
        for of_caches in case["runs"]
        for caches, run in of_caches.items()
    ]


def _accuracy_note(case: dict[str, Any]) -> str:
    return "\n".join(f"- {line}." for line in accuracy_lines(case))


def accuracy_lines(case: dict[str, Any]) -> list[str]:
    """How long training took to reach its goals: a line for each run."""
    lines = []
    for run in case["runs"]:
        reached = run["reached_seconds"]
        count = len(run["seconds"])
        told = f"not reached in {count} epochs, at best {percent(max(run['accuracy']))}"
        if reached is not None:
            told = f"reached after {reached / 60:.1f} min, in epoch {run['reached_epoch']} of {count}"
        chosen = with_interval(run["chosen"], "accuracy")
        lines.append(
            f"From {'published weights' if run['pretrained'] else 'nothing'} to {percent(run['goal'])} of "
            f"{run['test_slices']} test slices, {run['preset']} under `{run['protocol']}`, fold {run['fold']}, seed "
            f"{run['seed']}, on {run['data']}: {told} (told afterwards, "
            f"nothing was chosen by it); the whole run took {run['total_seconds'] / 60:.1f} min, and its checkpoint, "
            f"which validation chose, has {chosen}"
        )
    return lines


def depthwise_lines(case: dict[str, Any]) -> list[str]:
    """Depthwise convolutions by sums of shifted images beside XLA's own: a line for each layer."""
    lines = []
    for name, layer in case["layers"].items():
        pieces = ((name.replace("_", " "), part) for name, part in layer.items() if isinstance(part, dict))
        told = ", ".join(f"{piece} {part['ratio']:.1f} ({part['shifted_ms']:.1f} ms)" for piece, part in pieces)
        size = layer["kernel"]
        lines.append(
            f"Depthwise {size}x{size} convolution of {layer['channels']} channels at {layer['side']} px, stride "
            f"{layer['stride']} ({name} of EfficientNet-B0), called alone, XLA's time over that of shifted images: "
            f"{told}"
        )
    return lines


def _depthwise_note(case: dict[str, Any]) -> str:
    return "\n".join(f"- {line}." for line in depthwise_lines(case))


def _features_note(case: dict[str, Any]) -> str:
    return f"- {features_line(case)}."


def _saliency_note(case: dict[str, Any]) -> str:
    return "\n".join(f"- {line}." for line in saliency_lines(case))


def _growth_note(case: dict[str, Any]) -> str:
    rows = []
    for name in dict.fromkeys(one["name"] for one in case["points"]):
        values, times = relative_times(case, name)
        memory = [one["peak_memory_mib"] for one in case["points"] if one["name"] == name]
        cells = (f"{v}: {time:.2f}, {mib} MiB" for v, time, mib in zip(values, times, memory, strict=True))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    most = max(row.count("|") for row in rows)
    rows = [row + " |" * (most - row.count("|")) for row in rows]
    head = f"| what grows | {' | '.join('value: time, memory' for _ in range(most - 2))} |"
    lead = (
        "A training slice's time, over that of proportional growth from the first value, and the peak memory. Virtual "
        "devices share the cores of this machine, and each takes a part of the batch:"
    )
    return "\n".join(["", lead, "", head, "|---" * (most - 1) + "|", *rows])


_NOTES = {
    "layers": _layers_note,
    "depthwise": _depthwise_note,
    "epoch": _epoch_note,
    "predict": _predict_note,
    "folds": _folds_note,
    "memory": _memory_note,
    "stream": _stream_note,
    "whole": _whole_note,
    "growth": _growth_note,
    "time_to_accuracy": _accuracy_note,
    "features": _features_note,
    "saliency": _saliency_note,
}


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
