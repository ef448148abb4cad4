"""The links command: which slices of a data set belong together, and which belong to another data set's."""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import expanded, write_json, write_whole
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.data.dataset import PHANTOM, DataConfig, load_data
from btjax.links.links import Links, link_between, load_links
from btjax.reports.links import links_page
from btjax.studies.links import LinksReport, against_classes, links_report

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Iterable, Sequence

    from btjax.readers.slices import Slices


def find_links(
    data: DataConfig,
    folder: str | os.PathLike,
    *,
    against: str = "",
    observer: Observer | None = None,
    cache_dir: str | None = None,
) -> LinksReport:
    """Writes links.csv, pairs.csv, links.json and report.html into a folder, and returns what links.json holds.

    Args:
      data: the data set and its size.
      folder: a new one, or that of the same question, which is answered again.
      against: another data set's folder; links to it are found too (against.csv), or "".
      observer: is told of the work.
      cache_dir: where prepared slices and links are kept.

    Raises:
      InputError: data that cannot be read, or a folder that cannot be written.
    """
    out = expanded(folder)
    about = {"against": resolved(against), "data": dataclasses.asdict(data) | {"data_dir": resolved(data.data_dir)}}
    with told(observer) as watching, claimed(out, "links", about, observer=watching):
        found = load_data(data, cache_dir, watching.on_data)
        slices, form = found.slices, found.form
        _require_slices(slices, data.data_dir, "--data_dir")
        other = _other(data, against, cache_dir, watching)
        watching.on_message(f"data: {form}: {len(slices)} slices at {data.image_size} px")
        watching.on_notes(found.notes)
        links = load_links(slices, cache_dir, watching.on_data)
        report, between = links_report(slices, links, form), None
        if other is not None:
            between = other[0], link_between(slices, other[0], watching.on_data)
            rows = against_classes(slices, *between)
            report = dataclasses.replace(report, against=rows, against_data=other[1])
        _write_csv(out / "links.csv", *_slice_table(slices, links))
        _write_csv(out / "pairs.csv", ["id", "other_id", "kind", "score"], _pair_rows(slices, slices, links))
        if between is not None:
            rows = _pair_rows(slices, *between)
            _write_csv(out / "against.csv", ["id", "other_data_id", "kind", "score"], rows)
        write_json(out / "links.json", msgspec.to_builtins(report))
        page = links_page(report, slices, links, between)
        write_whole(out / "report.html", lambda beside: beside.write_text(page, encoding="utf-8"))
        return report


def resolved(data_dir: str) -> str:
    """The whole path of a data set; `phantom` and "" as they are."""
    return data_dir if data_dir in ("", PHANTOM) else str(expanded(data_dir).resolve())


def _other(data: DataConfig, against: str, cache_dir: str | None, observer: Observer) -> tuple[Slices, str] | None:
    if not against:
        return None
    config = dataclasses.replace(data, data_dir=against)
    other = load_data(config, cache_dir, observer.on_data)
    _require_slices(other.slices, against, "--against")
    return other.slices, other.form


def _require_slices(slices: Slices, folder: str, flag: str) -> None:
    if len(slices) == 0:
        raise InputError(f"{flag}={folder}: found no slices, expected at least one")


def _slice_table(slices: Slices, links: Links) -> tuple[list[str], Iterable[Sequence[Any]]]:
    head, columns = ["id", "group"], [slices.ids.tolist(), links.groups.tolist()]
    if slices.patients is not None:
        head, columns = [*head, "patient"], [*columns, slices.patients.tolist()]
    return head, zip(*columns, strict=True)


def _pair_rows(first: Slices, second: Slices, links: Links) -> Iterable[Sequence[Any]]:
    one, other = links.pairs.T
    scores = [f"{score:.4f}" for score in links.scores]
    return zip(first.ids[one], second.ids[other], links.kinds, scores, strict=True)


def _write_csv(path: pathlib.Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    def write(beside: pathlib.Path) -> None:
        with open(beside, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(head)
            table.writerows(np.array(row, dtype=object).tolist() for row in rows)

    write_whole(path, write)
