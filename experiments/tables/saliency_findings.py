"""What the saliency runs show: which methods surely beat their best control, by each score; and wrong decisions."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import interval, percent
from experiments.tables.cells import table
from experiments.tables.saliency import Results, difference, groups, mean, mixes, saliency_rows

_BY_CLASS = ("average_precision", "pointing")


def saliency_findings(results: Results) -> str:
    """Methods whose interval over their best control lies above 0, by score; the best by pointing; correctness."""
    parts = [_over_all_slices(results)]
    parts += [_by_class(results, score) for score in _BY_CLASS]
    return "\n\n".join([*parts, _pointing(results), _correctness(results)])


def _words(score: str) -> str:
    return score.replace("_", " ").replace("iou", "IoU").replace("roc auc", "ROC AUC")


def _sure(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that surely beat their best control, the largest difference first."""
    return sorted((row for row in rows if row["beats_best_control"]), key=lambda row: -row["difference"])


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['method']} {difference(row)}" for row in rows) or "none"


def _over_all_slices(results: Results) -> str:
    scores = dict.fromkeys(row["score"] for result in results.values() for row in result["localisation"]["comparison"])
    every = {
        (name, score): saliency_rows(result, "comparison", score=score, group="all", value="all")
        for name, result in results.items()
        for score in scores
    }
    lines = []
    for score in scores:
        found = {name: _sure(every[name, score]) for name in results}
        told = "; ".join(f"{name}: {_listed(rows)}" for name, rows in found.items() if rows)
        lines.append(f"- {_words(score)}: {told or f'none in any of the {len(results)} runs'}")
    count = sum(map(len, every.values()))
    return (
        "### Methods that beat their best control at the 95% level\n\n"
        "That is: the 95% interval of the difference lies above 0. Over the slices that a method explains, of all "
        f"classes; {count} comparisons, not corrected for their number:\n\n" + "\n".join(lines)
    )


def _by_class(results: Results, score: str) -> str:
    """A table, since a control that is good for all classes may be a poor one for one of them."""
    classes = list(dict.fromkeys(label for result in results.values() for _, label in groups(result)[1:]))
    rows = []
    for name, result in results.items():
        cells = []
        for label in classes:
            found = _sure(saliency_rows(result, "comparison", score=score, group="class", value=label))
            cells.append(_listed(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else ""))
        rows.append([name, *cells])
    return f"The same by class, by {_words(score)}:\n\n{table(['run', *classes], rows)}"


def _pointing(results: Results) -> str:
    """One line for each mix of slices of a run."""
    lines = []
    for name, result in results.items():
        for part in mixes(result, "pointing", "all", "all"):
            best = max(part, key=lambda row: row["difference"])
            bounds = interval(best.get("mean_ci95"))
            lines.append(
                f"- {name}, {best['slices']} slices: the peak of {best['method']} lies in or near the tumour in "
                f"{percent(best['mean'])} ({bounds or 'none'}) of them, that of {best['best_control']} in "
                f"{percent(best['control_mean'])}; difference {difference(best)}"
            )
    return (
        "By the pointing game, for each number of slices the method that is best over its best control, named after "
        "the fact; controls without an interval:\n\n" + "\n".join(lines)
    )


def _correctness(results: Results) -> str:
    """The paper's gradient and the best method of every slice, where the network is right and where it is wrong."""
    rows, without = [], []
    for name, result in results.items():
        keys = {"score": "average_precision", "group": "correctness"}
        found = {(row["method"], row["value"]): row for row in saliency_rows(result, "comparison", **keys)}
        if not found:
            without.append(name)
            continue
        whole = mixes(result, "average_precision", "all", "all")[0]
        best = max(whole, key=lambda row: row["difference"])["method"]
        for method in dict.fromkeys(("gradient", best)):
            cells = [name, method]
            for value in ("correct", "wrong"):
                row = found.get((method, value))
                cells += [0, "", ""] if row is None else [_counts(row), mean(row), difference(row)]
            rows.append(cells)
    text = (
        "### Wrongly classified slices\n\nMaps explain the predicted class. Every mean above counts wrongly classified "
        "slices too."
    )
    if without:
        text += f" Results files from before the two were told apart: {'; '.join(without)}."
    if not rows:
        return text
    head = ["run", "method", *(f"{value}: {part}" for value in ("correct", "wrong") for part in _PARTS)]
    text += " Average precision of the paper's map and of the best method that explains every slice"
    return f"{text}:\n\n{table(head, rows)}"


_PARTS = ("slices", "mean (95%)", "better than its best control by (95%)")


def _counts(row: dict[str, Any]) -> str:
    return f"{row['slices']}" if row["patients"] is None else f"{row['slices']} ({row['patients']} patients)"
