"""The page of all tables: which kind each results file is of, and the section of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.tables.attack import attack_tables
from experiments.tables.audits import audits_table, deviations_table, paper_like
from experiments.tables.bench import speed_section
from experiments.tables.cells import LEGEND
from experiments.tables.classifiers import classifier_table
from experiments.tables.coverage import coverage_table, methods_sentence
from experiments.tables.external import external_table
from experiments.tables.ladders import ladder_tables
from experiments.tables.links import links_table
from experiments.tables.options import options_table
from experiments.tables.overview import overview_table
from experiments.tables.paper import paper_table
from experiments.tables.presets import other_options, preset_of
from experiments.tables.proposals import proposals_tables
from experiments.tables.regions import regions_tables, retrieval_tables
from experiments.tables.saliency import saliency_table, settings_table
from experiments.tables.saliency_checks import checks_table
from experiments.tables.saliency_findings import saliency_findings
from experiments.tables.search import search_table
from experiments.tables.segmenter import ceiling_lines, joint_table, segmenter_table
from experiments.tables.stages import stages_table
from experiments.tables.unet import unet_table, variants_table
from experiments.tables.unknown import unknown_table

Results = dict[str, dict[str, Any]]
"""What the results files hold, by name."""


Section = Callable[[Results, Results], str]
"""Writes the section of a kind: from the results files of that kind, and all of them."""


def _saliency_section(results: Results, every: Results) -> str:
    explained = {name.removeprefix("saliency_").replace("_", ", "): result for name, result in results.items()}
    # Segmenters taught by boxes have their own table.
    outlined = every.get("segmenter_cpu", {}).get("outlined", [])
    parts = (settings_table(explained), saliency_table(explained), ceiling_lines(outlined))
    parts = (*parts, saliency_findings(explained), checks_table(explained))
    return "\n\n".join(filter(None, ["## Saliency", *parts]))


def _runs_table(result: dict[str, Any]) -> str:
    runs = result["runs"]
    parts = (classifier_table(runs), stages_table(runs), joint_table(runs), deviations_table(paper_like(runs)))
    return "\n\n".join(filter(None, parts))


def _unet_tables(result: dict[str, Any]) -> str:
    parts = (unet_table(result), deviations_table(result), deviations_table(result["classifier"]))
    return "\n\n".join(filter(None, parts))


def _each(title: Callable[[str, dict], str], table: Callable[[dict], str]) -> Section:
    """A section for each results file of a kind."""
    return lambda results, _: "\n\n".join(
        f"## {title(name, result)}\n\n{table(result)}" for name, result in results.items()
    )


def _ladder_sections(results: Results, _: Results) -> str:
    parts = []
    for name, result in results.items():
        own = preset_of(name)
        others = other_options(own, result["config"])
        options = f"Options of `{own}.flags`" + (f", but {others}." if others else ".")
        what = f"{result['title']} by protocol, `{own}.flags`{', refit' if result['refit'] else ''}"
        parts.append(f"## {what}\n\n{options} {ladder_tables(result)}")
    return "\n\n".join(parts)


KINDS: dict[str, Section] = {
    "rungs": _ladder_sections,
    "floors": lambda results, _: f"## Shortcuts\n\n{audits_table(results)}",
    "runs": _each(lambda name, _: f"`{name}.flags`", _runs_table),
    "trials": _each(lambda _, result: f"Search for options: {result['title']}", search_table),
    "linked_too": _each(lambda _, result: f"{result['title']} on other data", external_table),
    "unknown": _each(lambda *_: "When not to answer", unknown_table),
    "cells": _each(lambda name, _: f"Texture of the tumour's region (Cheng et al. 2015), `{name}`", regions_tables),
    "compared": _each(lambda name, _: f"Retrieval (Cheng et al. 2016), `{name}`", retrieval_tables),
    "outlined": _each(lambda name, _: f"`{name}.flags`", segmenter_table),
    "by_options": _each(lambda name, _: f"Options compared, `{name.removeprefix('options_')}`", options_table),
    "by_epoch": _each(lambda name, _: f"`{name}.flags`", _unet_tables),
    "variants": _each(lambda *_: "U-Nets by dropout", lambda result: variants_table(result["variants"])),
    "localisation": _saliency_section,
    "recalls": lambda results, _: f"## Region proposals\n\n{proposals_tables(results)}",
    "coverage": _each(lambda *_: "Intervals", coverage_table),
    "neighbours_of_all": _each(lambda *_: "Slices that belong together", links_table),
    "cases": speed_section,
    "attack": _each(lambda *_: "Bad inputs, damage, kills and full disks", attack_tables),
    "costs": lambda *_: "",
}
"""For each kind of results file a key, and what writes its section, in the page's order. A file's first key counts.

The costs of presets stand in the table of every system alone."""


def tables(results: Results) -> str:
    """The tables of every results file.

    Raises:
      ValueError: a results file of no kind.
    """
    of_kind: dict[str, Results] = {}
    for name, result in results.items():
        kind = next((key for key in KINDS if key in result), None)
        if kind is None:
            raise ValueError(f"{name}: of no kind that has a table; expected one of the keys {', '.join(KINDS)}")
        of_kind.setdefault(kind, {})[name] = result
    sections = (section(of_kind[key], results) for key, section in KINDS.items() if key in of_kind)
    lead = (f"## What the paper says\n\n{paper_table()}", LEGEND, methods_sentence(results), overview_table(results))
    return "\n\n".join(filter(None, (*lead, *sections)))
