"""The table of a test on other data."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import percent
from experiments.tables.cells import with_interval


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
        f"Accuracy **{with_interval(test, 'accuracy')}** of {counts['tested']} slices, intervals by "
        f"{test['interval']['unit']}; class frequencies alone have "
        f"{percent(result['baselines']['class_prior']['accuracy'])}.",
    ]
    if result["linked_too"]:
        both = result["linked_too"]
        lines[-1] += (
            f" With the linked slices, which show the run's own patients, it would read "
            f"{with_interval(both, 'accuracy')} of {both['slices']}."
        )
    for name, called in result["unknown_predictions"].items():
        told = ", ".join(f"{count} {guess}" for guess, count in called.items())
        lines.append(f"\nThe model does not know {name}; its {sum(called.values())} slices are called: {told}.")
    return "\n".join(lines)
