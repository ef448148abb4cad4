"""The paper's own results, to stand beside ours."""

from __future__ import annotations

from btjax.evaluation import published
from btjax.reports.numbers import interval, percent
from btjax.systems.system import find_system, system_names
from experiments.tables.cells import table


def paper_table() -> str:
    """What the paper claims for each of its systems; where it prints a matrix, the accuracy that follows from it."""
    rows = []
    for name in system_names():
        system, result = find_system(name), published.RESULTS.get(name)
        if system.claims:
            cells = (
                [f"{percent(result.accuracy)} ({interval(result.accuracy_ci95)})", result.remark]
                if result
                else ["", ""]
            )
            rows.append([system.title, system.claims, *cells])
    head = ["system", "the paper's figures", "accuracy by its matrix (95%, by slice)", "its text"]
    return table(head, rows)
