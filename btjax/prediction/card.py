"""MODEL_CARD.md of a run: what it is, what it was trained on, every score with its interval, and what it cannot say.

Everything stands in the run's report and config: the same run gives the same card, which `check_card` compares with one
that is there. It opens with Hugging Face's front matter. Sections follow Mitchell et al., Model cards for model
reporting, FAT* 2019; the lines on the data follow Gebru et al., Datasheets for datasets, CACM 2021.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError
from btjax.base.files import write_whole
from btjax.base.opening import read_regular
from btjax.prediction.card_sections import FILES, card_sections
from btjax.prediction.card_tables import plain
from btjax.prediction.metadata import is_chengs, licence_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.runs.report import Report
    from btjax.runs.run import Run

CARD = "MODEL_CARD.md"

PIPELINES = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "reconstruction": "image-to-image",
    "retrieval": "image-feature-extraction",
}
"""Hugging Face's name for what a task does."""


def card(run: Run, beside: Sequence[str] = ()) -> str:
    """The card's text.

    Args:
      run: a finished run of any task.
      beside: the files of `FILES` that stand beside it; see `beside_card`.

    Raises:
      InputError: the run has no report, or one of an earlier version.
    """
    report = run.report
    title = f"# {plain(report.title)}: {', '.join(map(plain, report.classes))}"
    parts = [title, *card_sections(run, report, beside)]
    return f"---\n{_front_matter(report)}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def beside_card(folder: pathlib.Path) -> list[str]:
    """The files of `FILES` in a folder, those of its exports/ with that name before theirs."""
    found = []
    for name in FILES:
        for path in (name, f"exports/{name}"):
            if (folder / path).exists():
                found.append(path)
    return found


def write_card(run: Run, folder: pathlib.Path) -> pathlib.Path:
    """Writes the card of a run into a folder that exists; the card tells what else stands there.

    Raises:
      InputError: see `card`.
    """
    text = card(run, beside_card(folder))
    write_whole(folder / CARD, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return folder / CARD


def check_card(run: Run, folder: pathlib.Path) -> None:
    """Checks that every line of a folder's card that the report gives is there, unchanged and in its order.

    People may add lines of their own below the front matter, without digits: no number may be another's.

    Raises:
      InputError: there is no card, or the first line that is not the report's.
    """
    path = folder / CARD
    expected = [line for line in card(run, beside_card(folder)).splitlines() if line.strip()]
    try:
        found = read_regular(path, "json").decode().splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected a model card: python -m experiments.card writes one") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8, expected a model card") from None
    front, place, strange = expected.index("---", 1), 0, None
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        if place < len(expected) and line == expected[place]:
            place, strange = place + 1, None
            continue
        strange = strange or (number, line)
        if place <= front or re.search(r"\d", line):
            break
    else:
        if place == len(expected):
            return
        strange = strange or (len(found) + 1, "the end")
    here, there = _around(strange[1], expected[place] if place < len(expected) else "nothing more")
    raise InputError(f"{path}:{strange[0]}: found {here!r}, the report says {there!r}")


def _around(one: str, other: str, width: int = 60) -> tuple[str, str]:
    """What stands in two lines where they first differ, a little before it and after it."""
    same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, min(same, len(one) - 1, len(other) - 1) - width // 3)
    return one[start : start + width].strip(), other[start : start + width].strip()


def _front_matter(report: Report) -> str:
    """YAML that Hugging Face reads; it ends with a line break."""
    import yaml

    kind = PIPELINES[report.task]
    name = f"{report.system}-{report.protocol}"
    values: dict[str, Any] = {
        "license": licence_of(report)[0],
        "library_name": "btjax",
        "pipeline_tag": kind,
        "tags": ["brain-tumor", "mri", "medical-imaging", "jax", "flax", "btjax"],
        "language": "en",
    }
    named = ("figshare-1512427", "brain tumor dataset (Jun Cheng)") if is_chengs(report) else ("own", report.data.form)
    data = {"type": named[0], "name": named[1], "split": "test"}
    results = {"task": {"type": kind}, "dataset": data, "metrics": _metrics(report)}
    values["model-index"] = [{"name": name, "results": [results]}]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _metrics(report: Any) -> list[dict[str, Any]]:
    """The front matter's scores, each with its interval in its name."""

    def metric(kind: str, title: str, value: float | None, bounds: Any) -> dict[str, Any]:
        told = title if bounds is None else f"{title}, 95% interval {bounds[0]:.4f} to {bounds[1]:.4f}"
        return {"type": kind, "value": None if value is None else round(value, 4), "name": told}

    test = report.test
    if report.task == "classification":
        found = [
            metric("accuracy", "Accuracy", test.accuracy, test.accuracy_ci95),
            metric("balanced_accuracy", "Balanced accuracy", test.macro_recall, test.macro_recall_ci95),
            metric("f1", "Macro F1", test.macro_f1, test.macro_f1_ci95),
            metric("roc_auc", "ROC AUC", test.roc_auc, test.roc_auc_ci95),
        ]
    elif report.task == "segmentation":
        found = [metric("dice", "Dice", test.dice.value, test.dice.ci95)]
    elif report.task == "reconstruction":
        found = [metric("mae", "Mean absolute error", test.mae, test.mae_ci95)]
    else:
        found = [metric("map", "Mean average precision", test.average_precision.value, test.average_precision.ci95)]
    return [one for one in found if one["value"] is not None]
