"""The sections of a model card, in the order in which a reader needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from btjax.base.options import options
from btjax.prediction.card_tables import counts_table, facts, headline, plain, score_sections, sources_table
from btjax.prediction.metadata import before_steps, is_chengs, licence_of
from btjax.reports.classifier import data_notes, protocol_sentences
from btjax.reports.numbers import amount, capitalised, duration, percent_with_interval
from btjax.reports.scores import interval_notes
from btjax.systems.deviations import deviations_of
from btjax.systems.system import find_system

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.runs.report import Report
    from btjax.runs.run import Run

FILES = {
    "checkpoints": "the weights, an Orbax checkpoint: `btjax.restore`",
    "config.json": "every option of the run",
    "report.json": "every score of this card, in full digits",
    "predictions.npz": "the logits of every row with its side of the split: `btjax.restore(...).predictions`",
    "predictions_test.csv": "the test rows: true class, predicted class, probabilities",
    "typical.npz": "what the training slices look like to the network: `btjax.predict` declines what is unlike them",
    "model.json": "classes, input, preprocessing, temperature, when not to answer, licence",
    "model.stablehlo": "uint8 slices in, probabilities out: `load.py` runs it with jax alone",
    "model.onnx": "the same for onnxruntime",
    "model.safetensors": "the variables by their names in btjax",
    "model_torch.safetensors": "a PyTorch state dict: `model_torch.py` holds its `nn.Module`",
    "vgg16_notop.h5": "the convolutions in Keras's layout, for `keras.applications.VGG16(include_top=False)`",
    "vgg16_head.h5": "the dense layers above them, for `Sequential([Flatten(), Dense(...), ...])`",
    "SHA256SUMS": "`sha256sum -c SHA256SUMS`",
}
"""What may stand beside a card, and what it is for."""

_UNTOLD = ("checkpoint_every", "keep_every", "devices", "prng", "guidance_map", "guidance_radius")
"""Options that say how a run is made, or that another one makes count."""

_DOES = {
    "classification": "classifies tumours in",
    "segmentation": "outlines tumours in",
    "reconstruction": "reconstructs",
    "retrieval": "ranks",
}

_NO_DOCTOR = (
    "For research and teaching. Not a medical device: it was not tested for any clinical use, and no diagnosis, "
    "triage or treatment may rest on it."
)


def card_sections(run: Run, report: Report, beside: Sequence[str]) -> list[str]:
    """Every section as Markdown, some of them empty; see `btjax.prediction.card.card`."""
    return [
        _summary(report),
        *_details(run, report),
        *_uses(report),
        *_data(run, report),
        *_training(run, report),
        *_evaluation(report),
        *_confound(report),
        *_limits(report),
        *_loading(report, beside),
        *_citation(report),
    ]


def _summary(report: Report) -> str:
    size, leaks = report.config["data"]["image_size"], report.split
    where = f"fold {report.split.fold} of {report.split.folds}, seed {report.config['seed']}"
    known = (
        " **Other slices of the same patients were trained on: this number does not tell how it does on new patients.**"
    )
    drawn = " **These slices were drawn by a program: the number says nothing about patients.**"
    return (
        f"A network that {_DOES[report.task]} single MRI slices of heads, {size} x {size} pixels. Under the protocol "
        f"`{report.protocol}` ({where}): {headline(report)}.{drawn if report.data.synthetic else ''}"
        f"{known if leaks.leaked_patients or leaks.leaked_families else ''}\n\n{_NO_DOCTOR}"
    )


def _details(run: Run, report: Report) -> list[str]:
    config, system = run.config, find_system(report.system)
    pairs = [
        ("System", f"`{report.system}`"),
        ("Reference", plain(system.reference)),
        ("Input", f"grey slices, uint8, {config.data.image_size} x {config.data.image_size} pixels"),
    ]
    if not system.fitted:
        shapes = jax.eval_shape(lambda key: config.task().initialise(key, config.data.image_size), jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
        pairs += [("Parameters", f"{count:,}"), ("Network", _options(config.model))]
    made = ", ".join(f"{name} {version}" for name, version in report.versions.items() if name in ("btjax", "jax"))
    return ["## Model details", facts([*pairs, ("Made with", plain(made)), ("Licence", licence_of(report)[1])])]


def _options(record: Any) -> str:
    """A config's group in words; what is off is left out."""
    found = []
    for name in options(type(record)):
        value = getattr(record, name)
        if value and value != "none" and name not in _UNTOLD and not (name == "momentum" and record.optimizer != "sgd"):
            found.append(f"`{name}` {plain(' '.join(map(str, value)) if isinstance(value, tuple) else str(value))}")
    return ", ".join(found) or "none"


def _uses(report: Report) -> list[str]:
    classes = ", ".join(map(plain, report.classes))
    none = (
        "- Deciding whether there is a tumour, unless a class above says so: every slice gets one of the classes.\n"
        if report.task == "classification"
        else ""
    )
    return [
        "## Intended use",
        "- Research on classifying MRI slices and on explaining and auditing networks; teaching; comparing methods "
        "under the same split.\n"
        f"- Slices like those of the training: one grey slice, upright, dark is low, showing one of: {classes}.",
        "Out of scope:",
        f"- Any clinical use.\n{none}"
        "- Other sequences, other organs, children, treated tumours, whole volumes, photographs of screens, unless the "
        "data below hold them.",
    ]


def _data(run: Run, report: Report) -> list[str]:
    pairs = [("Form", plain(report.data.form)), *_provenance(report)]
    pairs.append(("Labels", "a class for each slice, as the data set gives it; nobody read the slices again"))
    pairs.append(("Preparation", plain("; ".join(before_steps(run.config.data)))))
    notes = [f"- {plain(note.text)}" for note in data_notes(report)]
    return ["## Data", facts(pairs) + "\n" + "\n".join(notes), counts_table(report)]


def _provenance(report: Report) -> list[tuple[str, str]]:
    """Who made the data, as far as the run tells."""
    if report.data.synthetic:
        return [("Origin", "synthetic heads, drawn by btjax; no person is in them")]
    if is_chengs(report):
        return [
            ("Origin", "by number and classes Jun Cheng's *brain tumor dataset*, figshare 1512427, CC BY 4.0"),
            ("Instances", "T1-weighted, contrast-enhanced slices, each with a tumour; several slices of each patient"),
            ("Collection", "two hospitals in China (Guangzhou, Tianjin), 2005 to 2010 (Cheng et al., PLOS ONE 2015)"),
            ("People", "patients by a number; age, sex, scanner, treatment and consent are not published"),
        ]
    return [
        ("Origin", "the run does not know it; whoever passes this model on must say who collected the slices"),
        ("People", "not known to the run: age, sex, scanner, consent"),
    ]


def _training(run: Run, report: Report) -> list[str]:
    config, training, checkpoint = run.config, report.training, report.checkpoint
    lines = [f"- {plain(sentence)}" for sentence in protocol_sentences(report.protocol, report.split)]
    if checkpoint.epoch is not None:
        of = "" if training.epochs is None else f" of {training.epochs}"
        lines.append(f"- Checkpoint of epoch {checkpoint.epoch}{of}, chosen by {_words(checkpoint.criterion)}.")
    elif checkpoint.criterion:
        lines.append(f"- Chosen by {_words(checkpoint.criterion)}.")
    if training.features or training.head:
        said = [part for part in (training.features, training.head) if part]
        lines.append(f"- {plain(capitalised('; '.join(said)))}.")
    lines.append(f"- {duration(training.seconds)} on {plain(training.device)}.")
    pairs = []
    if not find_system(report.system).fitted:
        groups = {"Input": config.preprocessing, "Augmentation": config.augmentation, "Options": config.training}
        pairs = [(name, _options(group)) for name, group in groups.items()]
    counts = " / ".join(str(count.slices) for count in report.counts.values())
    found = {"data": report.data.form, "rows": counts}
    differing = [] if report.data.synthetic else [row for row in deviations_of(config, found) if row.differs]
    if differing:
        told = "; ".join(f"{row.name} {row.here} (paper: {row.paper})" for row in differing)
        pairs.append(("Not as in the paper", plain(told)))
    return ["## Training", "\n".join([*lines, *([facts(pairs)] if pairs else [])])]


def _words(criterion: str) -> str:
    return plain(criterion.replace("_", " "))


def _evaluation(report: Any) -> list[str]:
    test = report.test
    settings = getattr(test, "interval", None)
    said = "Parentheses hold 95% intervals"
    if settings is not None:
        said += f" by {settings.unit} ({settings.method}; {amount(settings.units)} in the test rows)"
    said += f"; where there is none, too few vary together. {_chosen(report)}"
    claims = find_system(report.system).claims
    beside = f"The paper's claim: {plain(claims)}." if claims and not report.data.synthetic else ""
    return ["## Evaluation", said, beside, *score_sections(report)]


def _chosen(report: Any) -> str:
    """What was chosen on which rows."""
    if getattr(report, "validation", None) is None:
        return "There are no validation rows; test rows chose nothing."
    if report.checkpoint.criterion.startswith(("last_epoch", "as given")):
        return "Neither validation nor test rows chose anything."
    return "Validation rows chose the checkpoint, test rows nothing."


def _confound(report: Any) -> list[str]:
    """What a class may be told by, instead of by its tumour."""
    if report.task != "classification" or report.data.synthetic:
        return []
    lines = []
    for row in report.sources:
        held = {name: count for name, count in row.slices.items() if count}
        if len(held) == 1:
            ((name, count),) = held.items()
            lines.append(
                f"**Every one of the {amount(count)} slices of the source {plain(row.source)} is of the class "
                f"{plain(name)}**: a model can tell where a slice comes from instead of what it shows."
            )
            lines += _by_source(report, name)
    if not report.sources:
        lines.append(
            "This report does not tell sources: the data have no patient ids, ids of one source, or the report is an "
            "early one. That the network tells a scanner or a hospital instead of a tumour cannot be excluded."
        )
    lines.append(
        "`python -m experiments.audit` measures what the border, the brightness and the source alone would reach."
    )
    return ["## The source", sources_table(report), " ".join(lines)]


def _by_source(report: Any, name: str) -> list[str]:
    """The recall of a class by source, where its test rows come from several."""
    rows = [row for row in report.parts if row.group == "source" and row.recall[name].rows]
    if len(rows) < 2:
        return []
    told = " and ".join(
        f"{percent_with_interval(row.recall[name].value, row.recall[name].ci95)} of those of the source "
        f"{plain(row.value)}"
        for row in rows
    )
    return [f"Of the {plain(name)} test slices it recognises {told}."]


def _limits(report: Any) -> list[str]:
    lines = [
        "One fold and one seed: what another division or another start would give is in none of these intervals.",
        "Slices of other hospitals, scanners or sequences were not tested: `python -m experiments.evaluate` does that.",
    ]
    if report.task == "classification":
        lines.append("Slices, not patients: a patient's slices may get different classes.")
        lines += [note.text for note in interval_notes(report.test)]
        lines.append(
            "No validation rows: neither a temperature nor conformal sets, and nothing tells when not to answer."
            if report.validation is None
            else "Probabilities are calibrated for slices like the validation rows alone. `btjax.predict` declines "
            "slices unlike the training's; an exported file gives probabilities for all, and a limit for its user to "
            "compare."
        )
    if report.split.copies:
        lines.append(
            f"{amount(report.split.copies)} test slices are copies of slices that it was trained or chosen on."
        )
    return ["## Limits", "\n".join(f"- {line}" for line in lines)]


def _loading(report: Report, beside: Sequence[str]) -> list[str]:
    parts = ["## How to load"]
    names = {path.rpartition("/")[2] for path in beside}
    if "checkpoints" in names:
        asked = (
            'answers = btjax.predict(run, "scans/")  # class, calibrated probabilities, conformal set, or no answer'
            if report.task == "classification"
            else "outputs = run.outputs(images)  # of uint8 slices [N, S, S]"
        )
        parts.append(f'```python\nimport btjax\n\nrun = btjax.restore("this/folder")\n{asked}\n```')
    if "model.stablehlo" in names:
        place = next(path for path in beside if path.endswith("model.stablehlo")).rpartition("/")[0]
        parts.append(f"```bash\npython {place + '/' if place else ''}load.py scan.png  # without btjax\n```")
    if "model.onnx" in names:
        path = next(path for path in beside if path.endswith("model.onnx"))
        parts.append(
            f'```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("{path}")\n'
            "outputs = session.run(None, {session.get_inputs()[0].name: slices})  # of uint8 [B, S, S]\n```\n\n"
            "The outputs are probabilities and, where `model.json` tells a limit (`not_answered`), strangeness: name "
            "no class above it."
        )
    return [*parts, facts([(f"`{path}`", FILES[path.rpartition("/")[2]]) for path in beside])]


def _citation(report: Report) -> list[str]:
    lines = [f"Method: {plain(find_system(report.system).reference)}."]
    if is_chengs(report):
        lines.append("Data: Jun Cheng, *brain tumor dataset*, figshare 1512427, CC BY 4.0.")
    lines.append("Program: btjax; `CITATION.cff` of its repository. Questions and mistakes: its issues.")
    return ["## Citation", "\n".join(f"- {line}" for line in lines)]
