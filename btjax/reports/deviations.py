"""The table of what differs between a run and its paper's experiment, beside the paper's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.data.dataset import PHANTOM
from btjax.reports.numbers import capitalised
from btjax.reports.page import Section, Table
from btjax.systems.deviations import NOT_SAID, Deviation, deviations_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.studies.data import Divided
    from btjax.systems.config import Config


def deviation_rows(config: Config, data: Divided) -> list[Deviation]:
    """How a run differs from its paper's experiment; none for slices that a program drew, or without a paper.

    Args:
      config: of the run.
      data: its slices and their split.
    """
    if config.data.data_dir == PHANTOM:
        return []
    counts = " / ".join(str(len(rows)) for rows in data.split.sides().values())
    return deviations_of(config, {"data": data.form, "rows": counts})


def deviation_section(rows: Sequence[Deviation]) -> Section:
    """The rows as a section; empty without rows."""
    if not rows:
        return Section("")
    told = {NOT_SAID: "not said; taken so"}
    table = Table(
        "Rows in bold differ. What the paper does not say is shown as the preset of its experiment takes it.",
        ["", "Paper", "Here", "The paper's value is"],
        [[capitalised(row.name), row.paper, row.here, told.get(row.basis, row.basis)] for row in rows],
        strong=[index for index, row in enumerate(rows) if row.differs],
    )
    count, total = sum(row.differs for row in rows), len(rows)
    return Section(f"How this run differs from the paper's: in {count} of {total} points", [table])
