"""Collects finished runs into a results file, and writes the README's tables from those files.

    python -m experiments.results --name=cnn_cpu RUN_DIR [RUN_DIR ...]
    python -m experiments.results

The first writes experiments/results/cnn_cpu.json; both write the README's tables anew.
"""

import argparse
import json
import pathlib
import sys

from btjax.base.errors import InputError
from btjax.base.files import read_json
from experiments.tables import classifier_table, saliency_table, speed_table, unet_table, variants_table

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
        "config": without_paths(report["config"]),
        "versions": report["versions"],
    }


def unet_summary(folder: pathlib.Path) -> dict:
    """A U-Net experiment's scores, with its classifier's; InputError where a stage is missing."""
    report = read_json(folder / "unet.json")
    return report | {"config": without_paths(report["config"]), "classifier": summary(folder / "classifier")}


def saliency_summary(folder: pathlib.Path) -> dict:
    """A saliency report in four digits, without what its page alone is for.

    Means with their own intervals are kept of all slices; comparisons with the best control also by class, lesion size
    and plane, of the scores that the README speaks of; controls of all slices and by class.
    """
    report = read_json(folder / "saliency.json")
    if "comparison" not in report:
        raise InputError(f"{folder}/saliency.json: has no scores, since its data set has no masks")
    by_group = ("average_precision", "pointing")
    kept = {
        "scores": lambda row: row["group"] == "all",
        "controls": lambda row: row["group"] == "all" or (row["group"] == "class" and row["score"] in by_group),
        "comparison": lambda row: row["group"] == "all" or row["score"] in by_group,
    }
    rows = {name: [row for row in report[name] if wanted(row)] for name, wanted in kept.items()}
    exact = {name: report[name] for name in ("run", "saliency")}
    return rounded(report | rows) | exact


def rounded(value):
    """JSON values with numbers of four digits after the point."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def without_paths(config: dict) -> dict:
    """A config without the places of files, which are another machine's."""
    return {
        group: {name: value for name, value in values.items() if name not in ("data_dir", "weights")}
        if isinstance(values, dict)
        else values
        for group, values in config.items()
    }


def unet_variants(folders: list[pathlib.Path]) -> dict:
    """The scores of several U-Nets, each under the name of its folder, without its classifier."""
    kept = ("protocol", "test_slices", "reconstruction", "final", "latent", "final_latent", "config")
    reports = {folder.name: read_json(folder / "unet.json") for folder in folders}
    first = next(iter(reports.values()))
    for name, report in reports.items():
        for group in ("data", "training"):
            if report["config"][group] != first["config"][group]:
                raise InputError(f"{name}: its {group} options differ from those of {folders[0].name}")
    variants = {name: {key: report[key] for key in kept} for name, report in reports.items()}
    return {"variants": {name: one | {"config": without_paths(one["config"])} for name, one in variants.items()}}


def collect(folders: list[pathlib.Path]) -> dict:
    """The contents of a results file: of classifiers' runs, of one U-Net or several, or of one saliency folder."""
    if (folders[0] / "unet.json").exists():
        return unet_summary(folders[0]) if len(folders) == 1 else unet_variants(folders)
    if (folders[0] / "saliency.json").exists():
        if len(folders) > 1:
            raise InputError(f"{folders[1]}: expected one saliency folder for a results file")
        return saliency_summary(folders[0])
    return {"runs": [summary(folder) for folder in folders]}


def readme_tables() -> str:
    """The README's part between the two marks, from every results file."""
    parts, explained = [], {}
    for path in sorted(RESULTS.glob("*.json")):
        result = read_json(path)
        if "runs" in result:
            parts.append(f"`{path.stem}.flags`, in percent:\n\n{classifier_table(result['runs'])}")
        elif "variants" in result:
            parts.append(variants_table(result["variants"]))
        elif "by_epoch" in result:
            parts.append(f"`{path.stem}.flags`:\n\n{unet_table(result)}")
        elif "comparison" in result:
            explained[path.stem.removeprefix("saliency_").replace("_", ", ")] = result
        else:
            parts.append(speed_table(result))
    return "\n\n".join([*parts, saliency_table(explained)] if explained else parts)


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
            result = collect(arguments.runs)
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    write_readme()
    return 0


if __name__ == "__main__":
    sys.exit(main())
