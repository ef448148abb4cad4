"""The gallery of a prediction: the slices in doubt first, each with its maps over it, and the same maps as files."""

from __future__ import annotations

import dataclasses
import heapq
import re
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import make_folder, write_whole
from btjax.evaluation.typical import ANSWERED
from btjax.figures.overlay import map_png, overlay_png, slice_png
from btjax.prediction.answers import LEVEL, Answer, Ensemble
from btjax.prediction.stream import prepared_of, side_of
from btjax.reports.numbers import UNDEFINED, amount, percent_with_interval
from btjax.reports.page import Card, Headline, Note, Section, Table, render
from btjax.runs.report import ClassifierReport
from btjax.studies.maps import explain

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterable, Sequence

    from btjax.prediction.inputs import Item
    from btjax.runs.run import Run

OVERLAYS = "overlays"

_EXPLAINED = 16
"""Slices that are explained at a time, where there are as many."""


@dataclasses.dataclass
class Counts:
    """How many slices came to what.

    Attributes:
      slices: all, of files that were read.
      answered: those with a class.
      untypical: those that are unlike the training.
      unreadable: files, or slices of files, that could not be read.
      by_class: class name -> slices that are called so.
    """

    slices: int = 0
    answered: int = 0
    untypical: int = 0
    unreadable: int = 0
    by_class: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Counts one answer."""
        if answer.probabilities is None:
            self.unreadable += 1
            return
        self.slices += 1
        self.answered += answer.answered
        self.untypical += not answer.answered
        if answer.answered:
            self.by_class[answer.predicted] = self.by_class.get(answer.predicted, 0) + 1


def most_doubtful(answers: Iterable[Answer], count: int, counted: Counts) -> list[tuple[int, Answer]]:
    """The answers in most doubt with their numbers from 1, the most doubtful first; counts all of them on the way."""

    def numbered() -> Iterable[tuple[float, int, Answer]]:
        for number, answer in enumerate(answers, start=1):
            counted.add(answer)
            if answer.probabilities is not None:
                yield answer.doubt, -number, answer

    # Of none `nlargest` would not even look at the answers, and nothing would be counted.
    chosen = heapq.nlargest(max(count, 1), numbered(), key=lambda row: row[:2])[: max(count, 0)]
    return [(-number, answer) for _, number, answer in chosen]


def make_cards(
    ensemble: Ensemble,
    shown: Sequence[tuple[int, Answer]],
    items: dict[tuple[str, str], Item],
    methods: Sequence[str],
    *,
    folder: pathlib.Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Card]:
    """The cards of slices, which are read again; with a folder, their overlays are written to its overlays/.

    Maps explain the most probable class of the first run, whether it is named or not.

    Args:
      ensemble: of runs.
      shown: answers with their numbers, in the order of the page.
      items: where each is read from.
      methods: saliency methods; () for pictures alone.
      folder: takes overlays/; None for cards alone.
      progress: is told how many cards are made.
    """
    if methods and folder is not None:
        make_folder(folder / OVERLAYS)
    cards = []
    at_once = max(1, min(_EXPLAINED, len(shown)))
    for first in range(0, len(shown), at_once):
        rows = shown[first : first + at_once]
        images = [_image(ensemble, items.get((answer.file, answer.slice))) for _, answer in rows]
        there = [image for image in images if image is not None]
        maps = _maps(ensemble, there, methods, at_once) if there else {}
        place = 0
        for (number, answer), image in zip(rows, images, strict=True):
            layers = []
            if image is not None:
                for name, found in maps.items():
                    layers.append((name, map_png(found[place])))
                    if folder is not None:
                        _write_overlay(folder / OVERLAYS, f"{number:06d}_{_plain(answer)}_{name}", image, found[place])
                place += 1
            cards.append(_card(answer, None if image is None else slice_png(image), layers))
        if progress is not None:
            progress(len(cards))
    return cards


def _write_overlay(folder: pathlib.Path, name: str, image: np.ndarray, values: np.ndarray) -> None:
    content = overlay_png(image, values)
    write_whole(folder / f"{name}.png", lambda beside: beside.write_bytes(content))


def _plain(answer: Answer) -> str:
    """A file name's safe part of what an answer is about."""
    text = f"{answer.file}_{answer.slice}" if answer.slice else answer.file
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-")[-80:] or "slice"


def _image(ensemble: Ensemble, item: Item | None) -> np.ndarray | None:
    """The slice of an item as the first run takes it; None where it can no longer be read."""
    if item is None:
        return None
    try:
        return side_of(prepared_of(ensemble, item), ensemble)
    except InputError:
        return None


def _maps(
    ensemble: Ensemble, images: Sequence[np.ndarray], methods: Sequence[str], at_once: int
) -> dict[str, np.ndarray]:
    """The maps of slices by method, float32 [N, S, S]; computed in batches of one size."""
    filled = np.stack([*images, *[images[-1]] * (at_once - len(images))])
    run = ensemble.members[0].eye.run
    return {name: explain(run, filled, name)[: len(images)] for name in methods}


def _card(answer: Answer, picture: bytes | None, maps: Sequence[tuple[str, bytes]]) -> Card:
    lines = []
    if answer.reason:
        lines.append(answer.reason)
    if answer.fitting is not None:
        lines.append(f"classes that fit: {', '.join(answer.fitting) or 'none'}")
    if answer.typicality is not None:
        lines.append(f"typicality {answer.typicality:.3f}")
    if answer.label:
        lines.append(f"its folder or file says: {answer.label}")
    name = f"{answer.file} ({answer.slice})" if answer.slice else answer.file
    return Card(
        title=name,
        picture=picture,
        maps=maps,
        verdict=answer.predicted if answer.answered else "not answered",
        lines=(*lines, *answer.remarks),
        bars=tuple((answer.probabilities or {}).items()),
        muted=not answer.answered,
    )


def gallery_page(
    ensemble: Ensemble, counts: Counts, cards: Sequence[Card], unread: Sequence[Answer], notes: Sequence[str]
) -> str:
    """The page of a prediction.

    Args:
      ensemble: of runs.
      counts: of all slices.
      cards: of those that are shown.
      unread: what could not be read, as far as it is listed.
      notes: on files that were passed over.
    """
    table = Table("", ("class", "slices"), [(name, counts.by_class.get(name, 0)) for name in ensemble.classes])
    sentences = [f"{counts.untypical} slices are unlike those of the training and get no answer."]
    if not ensemble.abstains:
        sentences = ["Every slice gets an answer, whatever it shows: --noabstain was given."]
    headline = Headline(f"{counts.answered} / {counts.slices}", "slices answered", (), sentences, table)
    told = f"The {len(cards)} slices in most doubt" if len(cards) < counts.slices else "Slices"
    unreadable = Table("", ("file", "reason"), [(one.file, one.reason) for one in unread])
    sections = [
        Section(f"{told}, the most doubtful first", cards=cards),
        Section(
            "Not read",
            tables=[unreadable] if unread else [],
            remarks=[f"{counts.unreadable - len(unread)} more are in predictions.csv."]
            if counts.unreadable > len(unread)
            else [],
        ),
        Section("Files", remarks=notes),
        Section("Runs", pairs=run_pairs(ensemble)),
    ]
    return render("Predictions", sections, headline=headline, notes=cautions(ensemble))


def run_pairs(ensemble: Ensemble) -> list[tuple[str, str]]:
    """The runs by name with what they are, and their temperatures."""
    pairs = []
    for member in ensemble.members:
        config = member.eye.run.config
        said = f"{config.system}, {config.data.image_size} px, protocol {config.data.protocol}"
        temperature = f"{member.temperature:.3f}" if member.calibration is not None else UNDEFINED
        pairs += [(member.eye.run.folder.name, said), *_tested(member.eye.run), ("its temperature", temperature)]
    return pairs


def _tested(run: Run) -> list[tuple[str, str]]:
    """A run's accuracy on its own test slices, where it has a report."""
    try:
        report = run.report
    except InputError:
        return []
    if not isinstance(report, ClassifierReport):
        return []
    test = report.test
    shown = percent_with_interval(test.accuracy, test.accuracy_ci95)
    return [("its test accuracy", f"{shown} of {amount(test.slices)} slices")]


def cautions(ensemble: Ensemble) -> list[Note]:
    """What whoever reads answers must know."""
    notes = []
    if ensemble.abstains:
        text = (
            f"{ANSWERED:.0%} of a run's own validation slices are answered. Typicality is the share of them that are "
            "at least as strange. Slices of other sequences and healthy heads look much like those of the training and "
            "are often answered."
        )
        notes.append(Note(text, "An answer is no proof that the slice shows a tumour."))
    if ensemble.calibrated:
        text = f"The classes that fit hold the true class of {LEVEL:.0%} of new slices like those of the validation."
        notes.append(Note(text))
    else:
        notes.append(
            Note("The run has no validation rows: probabilities are as the network gives them.", "Uncalibrated.")
        )
    if len(ensemble.members) > 1:
        notes.append(Note("Probabilities are means over the runs; maps are of the first.", "Several runs."))
    return notes
