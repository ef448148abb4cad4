"""report.html: one self-contained page of a run's results, from report.json and the figures."""

from __future__ import annotations

import base64
import importlib.resources
import io
import math
from collections.abc import Mapping, Sequence

import jinja2
import matplotlib
from matplotlib.figure import Figure

from btjax.evaluation import published as paper

_TITLES = {
    "cnn": "Custom CNN",
    "vgg16": "VGG16 transfer",
}

_CAPTIONS = {
    "curves": "Accuracy and loss by epoch, in the form of the paper's Figure 15.",
    "confusion_test": "Confusion matrix of the test slices: counts and their share of the true class.",
    "confusion_by_patient": "Confusion matrix of the test patients, one prediction each.",
    "confusion_validation": "Confusion matrix of the validation slices.",
    "mistakes": "The test slices that are wrong with the highest probability.",
}
"""The figures that the page knows, in their order; any other follows under its own name."""


UNDEFINED = "\N{EN DASH}"
"""What stands for a value that is None."""


def render_page(report: Mapping, figures: Mapping[str, Figure] | None = None) -> str:
    """Renders the report as one HTML page that needs no other file and no network.

    Args:
      report: the contents of `report.json`; `test` and others are dicts of `classification_report`. A key that is
        absent leaves its section out. Every text is escaped.
      figures: name -> figure, embedded as data. `curves`, `confusion_test`, `confusion_by_patient`,
        `confusion_validation` and `mistakes` have their own captions.

    Returns:
      The page's HTML.
    """
    source = importlib.resources.files("btjax.reports").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = (percent, interval, number, number_interval, amount)
    environment.filters.update({function.__name__: function for function in filters})
    return environment.from_string(source).render(page_content(report, figures or {}))


def page_content(report: Mapping, figures: Mapping[str, Figure]) -> dict:
    """What the template shows, in its order; a section without content is empty or None."""
    experiment = str(report.get("experiment", ""))
    synthetic = bool((report.get("data") or {}).get("synthetic"))
    published = None if synthetic else paper.RESULTS.get(experiment)
    classes = list(report.get("classes", []))
    if set(classes) != set(paper.CLASSES):
        published = None
    compared = _compared_rows(report, published)
    return {
        "title": _TITLES.get(experiment, experiment or "Results"),
        "classes": classes,
        "test": report.get("test"),
        "protocol": protocol_sentences(report),
        "synthetic": synthetic,
        "cautions": _cautions(report.get("test")),
        "counts": {name: part for name, part in (report.get("counts") or {}).items() if part},
        "compared": compared,
        "scale_start": _scale_start(compared),
        "per_class": (report.get("test") or {}).get("per_class") or {},
        "published": published,
        "published_average": published.percents["average"] if published else None,
        "facts": _facts(report),
        "config": flattened(report.get("config") or {}),
        "versions": flattened(report.get("versions") or {}),
        "figures": _embedded_figures(report, figures),
    }


def percent(value: float | None) -> str:
    """0.9375 -> '93.8%'; None -> an en dash. What is less than 1 never rounds up to 100%."""
    return UNDEFINED if value is None else f"{_percents(value)}%"


def _percents(value: float) -> str:
    return "99.9" if 0.9995 <= value < 1 else f"{100 * value:.1f}"


def interval(bounds: Sequence[float] | None) -> str:
    """[0.9, 0.97] -> '90.0 to 97.0', in percent; None -> ''."""
    return "" if bounds is None else " to ".join(map(_percents, bounds))


def number_interval(bounds: Sequence[float] | None) -> str:
    """[0.1, 0.25] -> '0.100 to 0.250'; None -> ''."""
    return "" if bounds is None else " to ".join(map(number, bounds))


def number(value: float | None) -> str:
    """0.12345 -> '0.123'; None -> an en dash."""
    return UNDEFINED if value is None else f"{value:.3f}"


def amount(value: int | None) -> str:
    """2452 -> '2452'; 12345 -> '12,345'; None -> 'not known'."""
    if value is None:
        return "not known"
    return f"{value:,}" if value >= 10_000 else str(value)


def protocol_sentences(report: Mapping) -> list[str]:
    """The split in words: what was kept together, and what that says about new patients."""
    protocol = report.get("protocol")
    split = report.get("split") or {}
    fold, folds, seed = split.get("fold"), split.get("folds"), split.get("seed")
    place = f" Fold {fold} of {folds}, counted from 0." if fold is not None and folds is not None else ""
    place += f" Split seed {seed}." if seed is not None else ""
    words = {
        "slice": "Slices were divided at random, as in the paper, whatever patient they show.",
        "patient": "Patients were divided at random: all slices of one patient id stand on one side.",
        "family": "Patients were divided at random; ids that differ only in a letter suffix were kept together.",
        "official": "The test rows are a fold that the dataset's authors made, divided by patient id.",
    }
    if protocol is None:
        return []
    return [words.get(protocol, f"The protocol is {protocol}.") + place, *_leak_sentences(protocol, split)]


def _leak_sentences(protocol: str, split: Mapping) -> list[str]:
    patients, families = split.get("leaked_patients"), split.get("leaked_families")
    if patients:
        same = f" ({families} {'family' if families == 1 else 'families'})" if families else ""
        who = f"{patients} patient{same} has" if patients == 1 else f"{patients} patients{same} have"
        return [
            f"{who} slices on more than one side of the split: these numbers say how well other slices of known "
            "patients are told apart, not how well new patients are."
        ]
    if families:
        stand = "1 family stands" if families == 1 else f"{families} families stand"
        return [
            f"No patient id stands on two sides; {stand} there, that is, ids that differ only in a letter suffix and "
            "may be one person examined twice."
        ]
    if patients == 0:
        return ["No patient stands on two sides of the split."]
    if protocol == "slice":
        return ["How many patients stand on two sides is not known: this form of the data has no patient ids."]
    return []


def _cautions(test: Mapping | None) -> list[str]:
    """What the interval of the headline cannot say."""
    settings = (test or {}).get("interval") or {}
    units, unit = settings.get("units"), settings.get("unit")
    cautions = []
    if unit == "slice":
        cautions.append(
            "These data carry no patient ids. The intervals take slices for independent, and are too narrow where "
            "several slices show one patient."
        )
    if units and test.get("accuracy") == 1:
        # Without a mistake every resample is perfect too; (1 - share)^units = 0.05 is the exact bound.
        lowest = 0.05 ** (1 / units)
        cautions.append(
            "No test slice is wrong, and so no resample can be: the interval has no width, yet the value is not "
            f"certain. {units} {unit}s without a mistake say, at 95% confidence, that at least {percent(lowest)} of "
            f"such {unit}s have none."
        )
    return cautions


def _compared_rows(report: Mapping, published: paper.PublishedResult | None) -> list[dict]:
    """One row for each set of numbers: test by slice and by patient, validation, baselines, the paper."""
    rows = []

    def add(name: str, scores: Mapping | None, unit: str, strong: bool = False) -> None:
        if scores:
            size = scores.get("predictions", scores.get("slices"))
            rows.append({"name": name, "unit": unit, "size": size, "scores": scores, "strong": strong})

    for key, name in (("test", "Test"), ("validation", "Validation"), ("held_out", "Validation and test")):
        scores = report.get(key) or {}
        add(name, scores, "slices", strong=key == "test")
        add(f"{name}, by patient", scores.get("by_patient"), "patients")
    baselines = {"linear_model": "Linear model on 32x32 pixels", "class_prior": "Class frequencies alone"}
    for key, parts in sorted((report.get("baselines") or {}).items(), reverse=True):
        add(f"{baselines.get(key, key)}, test", (parts or {}).get("test"), "slices")
    if published:
        scores = {name: getattr(published, name) for name in ("slices", "accuracy", "accuracy_ci95", "macro_f1")}
        add(f"Paper, {published.figure}", scores, "slices")
    for row in rows:
        row["scores"] = {"macro_f1": None, "roc_auc": None, "log_loss": None, **row["scores"]}
        row["scores"].setdefault("expected_calibration_error", None)
    return rows


def _scale_start(rows: Sequence[Mapping]) -> float:
    """Where the accuracy bars begin: the tenth below the lowest value or bound."""
    accuracies = [(row["scores"]["accuracy"], row["scores"].get("accuracy_ci95")) for row in rows]
    lowest = min([min([value, *(bounds or [])]) for value, bounds in accuracies], default=0)
    return min(math.floor(lowest * 10) / 10, 0.9)


def _facts(report: Mapping) -> list[tuple[str, str]]:
    """The short facts of the run: data, checkpoint, training."""
    facts = []
    data, checkpoint = report.get("data") or {}, report.get("checkpoint") or {}
    training = report.get("training") or {}
    if data.get("form"):
        facts.append(("Data", str(data["form"])))
    if data.get("dir"):
        facts.append(("Folder", str(data["dir"])))
    if checkpoint.get("epoch") is not None:
        step = f", step {checkpoint['step']}" if checkpoint.get("step") is not None else ""
        facts.append(("Checkpoint", f"epoch {checkpoint['epoch']}{step}"))
    if checkpoint.get("criterion"):
        facts.append(("Chosen by", str(checkpoint["criterion"]).replace("_", " ")))
    if training.get("epochs") is not None:
        facts.append(("Epochs trained", str(training["epochs"])))
    if training.get("seconds") is not None:
        facts.append(("Training time", duration(training["seconds"])))
    others = {key: value for key, value in training.items() if key not in ("epochs", "seconds")}
    return facts + [(name.replace("_", " ").capitalize(), value) for name, value in flattened(others)]


def duration(seconds: float) -> str:
    """59.2 -> '59 s'; 3723 -> '1 h 2 min'."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def flattened(tree: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """{'a': {'b': (1, 2)}} -> [('a.b', '1, 2')]."""
    pairs = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            pairs += flattened(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((name, ", ".join(map(str, value))))
        else:
            pairs.append((name, UNDEFINED if value is None else str(value)))
    return pairs


def _embedded_figures(report: Mapping, figures: Mapping[str, Figure]) -> list[dict]:
    known = [name for name in _CAPTIONS if name in figures]
    return [
        {
            "name": name,
            "caption": _CAPTIONS.get(name, str(name).replace("_", " ")),
            "alt": _alternative_text(name, report),
            "uri": data_uri(figures[name]),
            "width": round(float(figures[name].get_size_inches()[0]) * 96),
        }
        for name in known + [name for name in figures if name not in _CAPTIONS]
    ]


def _alternative_text(name: str, report: Mapping) -> str:
    """What the figure shows, in words; for a confusion matrix, all of it."""
    test = report.get("test") or {}
    scores = {
        "confusion_test": test,
        "confusion_by_patient": test.get("by_patient"),
        "confusion_validation": report.get("validation"),
    }.get(name)
    caption = _CAPTIONS.get(name, str(name).replace("_", " "))
    classes = report.get("classes") or []
    if not scores or len(classes) != len(scores["confusion_matrix"]):
        return caption
    rows = [
        f"true {truth}: " + ", ".join(f"{count} as {guess}" for guess, count in zip(classes, counts, strict=True))
        for truth, counts in zip(classes, scores["confusion_matrix"], strict=True)
    ]
    return f"{caption} {'; '.join(rows)}."


def data_uri(figure: Figure) -> str:
    """The figure as a data URI: PNG where it holds images, else SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    if any(axes.images for axes in figure.axes):
        figure.savefig(buffer, format="png", dpi=150)
        kind = "image/png"
    else:
        with matplotlib.rc_context({"svg.hashsalt": "btjax"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        kind = "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
