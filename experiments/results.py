"""Collects finished runs into a results file, and writes the README's tables from those files.

    python -m experiments.results --name=cnn_cpu RUN_DIR [RUN_DIR ...]
    python -m experiments.results

The first writes experiments/results/cnn_cpu.json; both write the README's tables anew.
"""

import argparse
import json
import pathlib
import sys

from btjax.errors import InputError
from btjax.runs import read_json

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results: written by experiments/results.py -->", "<!-- end of results -->"


def summary(folder: pathlib.Path) -> dict:
    """What a run's report says, in the few values that are kept.

    Raises:
      InputError: the folder holds no report.
    """
    report = read_json(folder / "report.json")
    scores = {
        side: {name: report[side][name] for name in ("slices", "accuracy", "accuracy_ci95", "macro_f1", "roc_auc")}
        for side in ("test", "validation", "held_out")
    }
    by_patient = report["test"]["by_patient"]
    return {
        "protocol": report["protocol"],
        "split": report["split"],
        "counts": report["counts"],
        **scores,
        "test_by_patient": by_patient and {name: by_patient[name] for name in ("accuracy", "accuracy_ci95")},
        "confusion_matrix": report["test"]["confusion_matrix"],
        "classes": report["classes"],
        "baselines": {name: baseline["test"]["accuracy"] for name, baseline in report["baselines"].items()},
        "checkpoint": report["checkpoint"],
        "training": report["training"],
        "config": {name: value for name, value in report["config"].items() if name != "data"}
        | {"data": {name: value for name, value in report["config"]["data"].items() if name != "data_dir"}},
        "versions": report["versions"],
    }


def table(runs: list[dict]) -> str:
    """A Markdown table of runs: one row each, and one with the means of those that share a protocol."""
    lines = [
        "| protocol | seed | test slices (patients) | test accuracy (95%) | by patient | macro F1 | validation "
        "| linear model | class prior | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        counts, by_patient = run["counts"]["test"], run["test_by_patient"]
        name = run["protocol"] if run["protocol"] == "slice" else f"{run['protocol']}, fold {run['split']['fold']}"
        lines.append(
            f"| {name} | {run['split']['seed']} | {counts['slices']} ({counts['patients']}) "
            f"| {_with_interval(run['test'])} | {'' if by_patient is None else _percent(by_patient['accuracy'])} "
            f"| {_percent(run['test']['macro_f1'])} | {_percent(run['validation']['accuracy'])} "
            f"| {_percent(run['baselines']['linear_model'])} | {_percent(run['baselines']['class_prior'])} "
            f"| {run['training']['seconds'] / 60:.0f} |"
        )
    for protocol in dict.fromkeys(run["protocol"] for run in runs):
        group = [run for run in runs if run["protocol"] == protocol]
        if len(group) > 1:
            test, held_out, validation = (
                sum(run[side]["accuracy"] for run in group) / len(group) for side in ("test", "held_out", "validation")
            )
            lines.append(
                f"\nMean of the {len(group)} `{protocol}` runs: **{_percent(test)}** test, {_percent(validation)} "
                f"validation, {_percent(held_out)} over both (validation chose the checkpoint)."
            )
    return "\n".join(lines)


def speed_table(result: dict) -> str:
    """A Markdown table of what `scripts/bench` measured: one row for each case and form."""
    lines = [
        "Training step of the CNN on a CPU (`scripts/bench`; forms take turns, ratios are medians of the rounds;",
        "below 1 a form is faster than btjax):\n",
        "| case | form | ms an image | time over btjax | GFLOP/s | of matmul peak | compile s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in result["cases"].items():
        for form, row in case["forms"].items():
            lines.append(
                f"| {name} | {form} | {row['ms_per_image'][1]:.1f} | {row['time_over_btjax']:.2f} "
                f"| {row['gflops']:.0f} | {100 * row['share_of_matmul_peak']:.0f}% | {row['compile_seconds']:.0f} |"
            )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _with_interval(scores: dict) -> str:
    if scores["accuracy_ci95"] is None:
        return f"**{_percent(scores['accuracy'])}**"
    low, high = scores["accuracy_ci95"]
    return f"**{_percent(scores['accuracy'])}** ({_percent(low)} to {_percent(high)})"


def readme_tables() -> str:
    """The README's part between the two marks, from every results file."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        result = read_json(path)
        if "runs" in result:
            parts.append(f"`{path.stem}.flags`, in percent:\n\n{table(result['runs'])}")
        else:
            parts.append(speed_table(result))
    return "\n\n".join(parts)


def write_readme() -> None:
    """Puts the tables between the README's marks."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{readme_tables()}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="name of the results file, such as cnn_cpu")
    parser.add_argument("runs", nargs="*", type=pathlib.Path, help="folders of finished runs")
    arguments = parser.parse_args()
    if bool(arguments.name) != bool(arguments.runs):
        parser.error("--name and at least one run go together")
    try:
        if arguments.name:
            result = {"runs": [summary(folder) for folder in arguments.runs]}
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    write_readme()
    return 0


if __name__ == "__main__":
    sys.exit(main())
