"""retrieval.html: how well similar slices are found, and queries beside what was found for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.evaluation.retrieval import CUTS
from btjax.reports.numbers import interval, percent
from btjax.reports.page import Cell, Headline, Picture, Section, Table, flattened, render
from btjax.reports.regions import outlines_sentence, published_elsewhere
from btjax.runs.report import write_report
from btjax.runs.run import REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from btjax.evaluation.estimates import Estimate
    from btjax.evaluation.retrieval import RetrievalScores
    from btjax.runs.folder import RunFolder
    from btjax.runs.report import RankingReport
    from btjax.studies.retrieval import RetrievalReport, VariantResult


def retrieval_page(report: RetrievalReport, figures: Sequence[tuple[str, Figure]]) -> str:
    """Renders the page, which needs no other file and no network.

    Args:
      report: the results.
      figures: what each shows, and the figure.
    """
    first = report.compared[0]
    scores = first.scores
    headline = Headline(
        percent(first.mean),
        "mean average precision, the mean of the folds",
        [f"95% interval {interval(scores.average_precision.ci95)}%, all queries together"],
        [
            f"{first.title}. Chance is {percent(scores.chance)}.",
            f"Of Fisher vectors and words: {outlines_sentence(report.config)}",
            f"Without slices of the query's family in the database: {percent(first.others.average_precision.value)}.",
        ],
    )
    sections = [
        Section("What is compared", [variants_table(report.compared)]),
        Section("By class", [_class_table(report)]),
        Section("Directions of the learned metric", [_dimension_table(report.compared)]),
        Section("Queries and what was found", pictures=[Picture(figure, caption) for caption, figure in figures]),
        Section("Configuration", pairs=flattened(report.config)),
    ]
    title = f"Retrieval of similar slices, protocol {report.protocol}"
    lead = [
        f"Data: {report.data}. Queries are the test slices of every fold; their database is the fold's other slices.",
        "Published: Cheng et al., PLOS ONE 2016, mean of the authors' five folds without an interval.",
        *published_elsewhere(report.config),
    ]
    return render(title, sections, headline=headline, lead=lead)


def write_ranking_report(folder: RunFolder, report: RankingReport) -> None:
    """Writes report.json and report.html of a single run into its folder."""
    test, others = report.test, report.others
    rows = [
        ["all slices", *_cells(test), percent(test.chance)],
        ["without the query's family", *_cells(others), percent(others.chance)],
    ]
    head = ["Database", "mAP", *(f"Nearest {cut}" for cut in CUTS), "Chance"]
    title = "Mean average precision, and the share of the query's class among the nearest slices; 95% intervals."
    headline = Headline(
        percent(test.average_precision.value),
        "mean average precision",
        [f"95% interval {interval(test.average_precision.ci95)}%"],
        [f"{test.queries} queries, the test slices; a database of {test.database:.0f}, the other slices."],
    )
    sections = [
        Section("All results", [Table(title, head, rows)]),
        Section("Configuration", pairs=flattened(report.config)),
    ]
    page = render(f"{report.title}, protocol {report.protocol}", sections, headline=headline)
    folder.write_text("report.html", page)
    write_report(folder.path / REPORT, report)


def _cells(scores: RetrievalScores) -> list[Cell]:
    return [_told(scores.average_precision), *(_told(scores.precision[str(cut)]) for cut in CUTS)]


def variants_table(variants: Sequence[VariantResult]) -> Table:
    """The scores of every way to compare slices."""
    rows = []
    for one in variants:
        folds = f"folds {percent(min(one.folds))} to {percent(max(one.folds))}"
        rows.append(
            [
                one.title,
                "" if one.published is None else f"{one.published:.2f}%",
                Cell(f"{100 * one.mean:.2f}%", folds),
                *_cells(one.scores),
                _told(one.others.average_precision),
            ]
        )
    head = ["Compared by", "Published", "mAP, mean of folds", "mAP, all queries", "Nearest", "Nearest 10", "Nearest 20"]
    head += ["mAP, other families"]
    return Table(
        "Mean average precision and the share of the query's class among the nearest slices, with 95% intervals.",
        head,
        rows,
    )


def _told(estimate: Estimate) -> Cell:
    return Cell(percent(estimate.value), interval(estimate.ci95))


def _class_table(report: RetrievalReport) -> Table:
    rows = [[one.title, *(_told(one.scores.by_class[name]) for name in report.classes)] for one in report.compared]
    return Table("Mean average precision of each class's queries.", ["Compared by", *report.classes], rows)


def _dimension_table(variants: Sequence[VariantResult]) -> Table:
    learned = [one for one in variants if one.by_dimension]
    count = max((len(one.by_dimension) for one in learned), default=0)
    rows = [[one.title, *map(percent, one.by_dimension)] for one in learned]
    return Table(
        "Mean average precision by the number of directions, mean of the folds.",
        ["Compared by", *map(str, range(1, count + 1))],
        rows,
    )
