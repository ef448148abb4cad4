"""What results files hold of finished runs: their reports, without the places of files and what no table tells."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import msgspec

from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.commands.audit import AUDIT, read_audit
from btjax.commands.proposals import PROPOSALS
from btjax.commands.regions import REGIONS
from btjax.commands.retrieval import RETRIEVAL
from btjax.commands.unknown import UNKNOWN
from btjax.reports.ladder import LADDER
from btjax.reports.search import SEARCH
from btjax.runs.report import ClassifierReport, SegmentationReport, read_typed
from btjax.runs.run import REPORT, Run
from btjax.studies.audit_flags import flags_of
from btjax.studies.external import ExternalReport
from btjax.studies.ladder_report import LadderReport
from btjax.studies.proposals import ProposalsReport
from btjax.studies.regions import SCHEMA as REGIONS_SCHEMA
from btjax.studies.regions import RegionsReport
from btjax.studies.retrieval import SCHEMA as RETRIEVAL_SCHEMA
from btjax.studies.retrieval import RetrievalReport
from btjax.studies.saliency_rows import SCHEMA as SALIENCY_SCHEMA
from btjax.studies.saliency_rows import SaliencyReport
from btjax.studies.search import SCHEMA as SEARCH_SCHEMA
from btjax.studies.search import SearchReport
from btjax.studies.unet import SCHEMA as UNET_SCHEMA
from btjax.studies.unet import UNetReport
from experiments.gains import gains_of
from experiments.tables.options import options_of

if TYPE_CHECKING:
    from btjax.evaluation.classification import Scores

ATTACK, WORDS = "attack.json", ("wrong", "used")
"""What `scripts/attack` leaves, and where it says in words what went wrong."""


def summary(folder: pathlib.Path) -> dict[str, Any]:
    """What a classifier's report says, without the places of files and the settings of the intervals.

    Raises:
      InputError: the folder holds no classifier's report.
    """
    run = Run(folder)
    report = run.report
    if not isinstance(report, ClassifierReport):
        raise InputError(f"{folder}: the report of {run.config.task().trains}, expected a classifier's")
    values = msgspec.to_builtins(dataclasses.replace(report, config=without_paths(report.config)))
    held = {side: getattr(report, side) for side in ("test", "validation", "held_out")}
    sides = {side: None if scores is None else _kept(scores) for side, scores in held.items()}
    baselines = {name: _kept(scores) for name, scores in report.baselines.items()}
    values["data"].pop("dir")
    return values | sides | {"baselines": baselines}


def _kept(scores: Scores) -> dict[str, Any]:
    return _kept_values(msgspec.to_builtins(scores))


def _kept_values(values: dict[str, Any]) -> dict[str, Any]:
    by_patient = values["by_patient"]
    return values | {"by_patient": by_patient and {name: by_patient[name] for name in by_patient if name != "interval"}}


def unet_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A U-Net experiment's scores, with its classifier's; InputError where a stage is missing."""
    report = msgspec.to_builtins(read_typed(folder / "unet.json", UNetReport, UNET_SCHEMA), str_keys=True)
    return report | {"config": without_paths(report["config"]), "classifier": summary(folder / "classifier")}


def saliency_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A saliency report in four digits, without what its page alone is for.

    Means are kept of all slices; comparisons with the best control also by class, correctness, lesion size and plane,
    of the scores that the tables speak of; controls of all slices, by class and by correctness.
    """
    report = msgspec.to_builtins(read_typed(folder / "saliency.json", SaliencyReport, SALIENCY_SCHEMA))
    if report["localisation"] is None:
        raise InputError(f"{folder}/saliency.json: has no scores, since its data set has no masks")
    by_group = ("average_precision", "pointing")
    kept = {
        "scores": lambda row: row["group"] == "all",
        "controls": lambda row: (
            row["group"] == "all" or (row["group"] in ("class", "correctness") and row["score"] in by_group)
        ),
        "comparison": lambda row: row["group"] == "all" or row["score"] in by_group,
    }
    found = report["localisation"]
    rows = {name: [row for row in found[name] if wanted(row)] for name, wanted in kept.items()}
    exact = {name: report[name] for name in ("run", "saliency")}
    return rounded(report | {"localisation": found | rows}) | exact


def rounded(value: Any, digits: int = 4) -> Any:
    """JSON values with numbers of so many digits after the point."""
    if isinstance(value, dict):
        return {name: rounded(part, digits) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part, digits) for part in value]
    return round(value, digits) if isinstance(value, float) else value


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the places of files, which are another machine's."""
    kept = {
        group: {name: value for name, value in values.items() if name not in ("data_dir", "weights")}
        if isinstance(values, dict)
        else values
        for group, values in config.items()
    }
    if taught_by := (kept.get("extra") or {}).get("taught_by"):
        kept["extra"]["taught_by"] = pathlib.Path(taught_by).stem
    return kept


def external_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A test on other data, without the places of files and the settings of the intervals."""
    report = read_typed(folder / REPORT, ExternalReport)
    values = msgspec.to_builtins(dataclasses.replace(report, config=without_paths(report.config)))
    scores = {"test": _kept(report.test), "linked_too": report.linked_too and _kept(report.linked_too)}
    for name in ("own", "other"):
        values[name].pop("dir")
    values.pop("run")
    return values | scores | {"baselines": {name: _kept(one) for name, one in report.baselines.items()}}


def task_of(folder: pathlib.Path) -> str | None:
    """The task of the report that a folder holds, such as "external" for a test on other data; None without one."""
    path = folder / REPORT
    values = read_json(path) if path.exists() else None
    return values.get("task") if isinstance(values, dict) else None


def unet_variants(folders: list[pathlib.Path]) -> dict[str, Any]:
    """The scores of several U-Nets, each under the name of its folder, without its classifier."""
    kept = ("protocol", "test_slices", "reconstruction", "final", "latent", "final_latent", "config")
    reports = {
        folder.name: msgspec.to_builtins(read_typed(folder / "unet.json", UNetReport, UNET_SCHEMA))
        for folder in folders
    }
    first = next(iter(reports.values()))
    for name, report in reports.items():
        for group in ("data", "training"):
            if report["config"][group] != first["config"][group]:
                raise InputError(f"{name}: its {group} options differ from those of {folders[0].name}")
    variants = {name: {key: report[key] for key in kept} for name, report in reports.items()}
    return {"variants": {name: one | {"config": without_paths(one["config"])} for name, one in variants.items()}}


def collect(folders: list[pathlib.Path], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """The contents of a results file: classifiers' or segmenters' runs, U-Nets, or one folder of another kind.

    Args:
      folders: finished runs.
      before: what the file held, if it was there: its runs of other protocols, folds and seeds stay.
    """
    if (folders[0] / "unet.json").exists():
        return unet_summary(folders[0]) if len(folders) == 1 else unet_variants(folders)
    read = next((summarise for name, summarise in _SUMMARIES.items() if (folders[0] / name).exists()), None)
    read = external_summary if task_of(folders[0]) == "external" else read
    if read is not None:
        if len(folders) > 1:
            raise InputError(f"{folders[1]}: expected one folder for this results file")
        return read(folders[0])

    def place(run: dict[str, Any]) -> tuple[str, int, int, int]:
        return run["protocol"], run["split"]["seed"], run["split"]["fold"], run["config"]["seed"]

    segments = task_of(folders[0]) == "segmentation"
    kind, read = ("outlined", segmenter_summary) if segments else ("runs", summary)
    if before is not None and not isinstance(before.get(kind), list):
        what = "a segmenter's" if segments else "a classifier's"
        raise InputError(
            f"{folders[0]}: {what} run, but the results file holds something else; expected another --name"
        )
    runs = {place(run): run for run in (before or {}).get(kind, [])}
    for folder in folders:
        run = read(folder)
        for held in runs.values():
            if held["config"]["system"] != run["config"]["system"]:
                raise InputError(
                    f"{folder}: a run of {run['config']['system']}, the results file holds {held['config']['system']}"
                )
        runs[place(run)] = run
    return {kind: list(runs.values())}


_COMPARED = (
    "schema", "task", "system", "title", "classes", "protocol", "split", "counts", "data", "checkpoint", "training",
    "config", "versions", "test", "validation", "outlines", "outlines_validation",
)  # fmt: skip
"""What is kept of a run beside others: no baselines, calibration, prediction sets and parts."""


def by_options(folders: list[pathlib.Path]) -> dict[str, Any]:
    """Runs that differ in their options, their gains over the first one's options, and what their maps score.

    The scores of maps are those of a folder `saliency` in a run, where there is one. The results file then holds
    nothing else.

    Raises:
      InputError: runs of the same options, fold and seed, or of several protocols, or that cannot be compared.
    """
    runs: dict[str, dict[str, Any]] = {}
    for folder in folders:
        run = segmenter_summary(folder) if task_of(folder) == "segmentation" else rounded(summary(folder), 6)
        place = repr((options_of(run["config"]), run["protocol"], run["split"], run["config"]["seed"]))
        if place in runs:
            raise InputError(f"{folder}: of the same options, fold and seed as another run, expected others")
        kept = _pointing(folder / "saliency", run) if (folder / "saliency" / "saliency.json").exists() else []
        runs[place] = {name: run[name] for name in _COMPARED if name in run} | {"maps": kept}
    if len({run["protocol"] for run in runs.values()}) > 1:
        raise InputError(f"{folders[0]}: runs of several protocols, expected one")
    compared = list(runs.values())
    return {"by_options": compared, "gains": rounded(gains_of(folders, compared), 6)}


def _pointing(folder: pathlib.Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """How often each method's map of a run points at the tumour, beside the controls; InputError for another run's."""
    found = saliency_summary(folder)
    told, own = (found["epoch"], found["step"]), (run["checkpoint"]["epoch"], run["checkpoint"]["step"])
    if found["split"] != run["split"]["fingerprint"] or told != own:
        raise InputError(f"{folder}/saliency.json: of another run than the one in {folder.parent}")
    return [row for row in found["localisation"]["comparison"] if row["group"] == "all" and row["score"] == "pointing"]


def audit_summary(folder: pathlib.Path) -> dict[str, Any]:
    """An audit of shortcuts, in four digits."""
    found = read_audit(folder)
    # The sentences are written anew from the measures: an older audit says what the present program would.
    return rounded(msgspec.to_builtins(dataclasses.replace(found, flags=flags_of(found))))


def ladder_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A ladder's report in six digits, without the places of files; of its audits what the tables tell."""
    report = msgspec.to_builtins(read_typed(folder / LADDER, LadderReport))
    for rung in report["rungs"]:
        rung["scores"] = _kept_values(rung["scores"])
        rung["selective"] = {
            name: value for name, value in rung["selective"].items() if name not in ("coverage", "risk")
        }
        rung["audit"] = {name: rung["audit"][name] for name in ("gaps", "alone", "probes", "floors", "flags")}
    return rounded(report, 6) | {"config": without_paths(report["config"])}


def segmenter_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A segmenter's report in six digits, without the places of files; InputError for another report."""
    report = Run(folder).report
    if not isinstance(report, SegmentationReport):
        raise InputError(f"{folder}: the report of {Run(folder).config.task().trains}, expected a segmenter's")
    values = msgspec.to_builtins(dataclasses.replace(report, config=without_paths(report.config)))
    values["data"].pop("dir")
    return rounded(values, 6)


def regions_summary(folder: pathlib.Path) -> dict[str, Any]:
    """Cheng's table of 2015 in six digits, without the places of files."""
    report = msgspec.to_builtins(read_typed(folder / REGIONS, RegionsReport, REGIONS_SCHEMA))
    for cell in report["cells"]:
        cell["scores"] = _kept_values(cell["scores"])
    return rounded(report | {"config": _without_outlines(report["config"])}, 6)


def retrieval_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A retrieval in six digits, without the places of files."""
    report = msgspec.to_builtins(read_typed(folder / RETRIEVAL, RetrievalReport, RETRIEVAL_SCHEMA), str_keys=True)
    return rounded(report | {"config": _without_outlines(report["config"])}, 6)


def search_summary(folder: pathlib.Path) -> dict[str, Any]:
    """A search for hyper-parameters in six digits, without the places of files."""
    report = msgspec.to_builtins(read_typed(folder / SEARCH, SearchReport, SEARCH_SCHEMA))
    return rounded(report | {"config": without_paths(report["config"])}, 6)


def unknown_summary(folder: pathlib.Path) -> dict[str, Any]:
    """What a run answered of slices that it should not answer."""
    return read_json(folder / UNKNOWN)


def _without_outlines(config: dict[str, Any]) -> dict[str, Any]:
    """A config that says whether outlines were predicted, and not where the runs stand."""
    return without_paths(config) | {"extra": {"outlines": bool(config["extra"]["outlines"])}}


def attack_summary(folder: pathlib.Path) -> dict[str, Any]:
    """What `scripts/attack` counted; of what went wrong the number, since its words name folders of the machine."""
    found = read_json(folder / ATTACK)
    parts = {name: found[name] for name in ("inputs", "flips") if name in found}
    kept: dict[str, Any] = {name: {key: part[key] for key in part if key not in WORDS} for name, part in parts.items()}
    for name in ("kills", "full_disks"):
        kept[name] = {command: one | {"wrong": len(one["wrong"])} for command, one in found.get(name, {}).items()}
    return {"attack": kept}


def proposals_summary(folder: pathlib.Path) -> dict[str, Any]:
    """Region proposals in four digits, without the places of files."""
    report = msgspec.to_builtins(read_typed(folder / PROPOSALS, ProposalsReport))
    report["settings"]["run"] = without_paths(report["settings"]["run"])
    rows = rounded(report.pop("rows"))
    return report | {"recalls": rows}


_SUMMARIES = {
    PROPOSALS: proposals_summary,
    "saliency.json": saliency_summary,
    LADDER: ladder_summary,
    AUDIT: audit_summary,
    REGIONS: regions_summary,
    RETRIEVAL: retrieval_summary,
    SEARCH: search_summary,
    UNKNOWN: unknown_summary,
    ATTACK: attack_summary,
}
"""What a folder of one results file holds, by the file that tells it."""
