"""The region proposals of a run's maps: boxes, how often they hold the tumour, and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import expanded, write_json, write_whole
from btjax.base.folders import held
from btjax.base.progress import Observer, told
from btjax.commands.saliency import check_new, claim, open_run
from btjax.reports.proposals import proposals_page
from btjax.studies.maps import compute_all_maps
from btjax.studies.proposals import box_labels, proposals_of, proposals_report
from btjax.studies.saliency import settings
from btjax.studies.subject import chosen_methods, explained_rows

if TYPE_CHECKING:
    import os

    from btjax.studies.proposals import ProposalsReport
    from btjax.studies.subject import SaliencyConfig

PROPOSALS = "proposals.json"
"""The report's file in its folder."""

LABELS = "labels"
"""The folder of outlines that no person drew."""


def proposals(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    config: SaliencyConfig,
    *,
    labels: bool = False,
    data_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> ProposalsReport:
    """Takes the maps of a finished run's test slices for region proposals, and scores these beside controls.

    Args:
      checkpoint: folder of the classifier's run; for the U-Net's encoder the final U-Net's output is a method too.
      folder: takes the maps, proposals.json and proposals.html; a stopped command goes on with its maps.
      config: which methods; those that do not explain every test slice under these options are left out.
      labels: whether folder/labels also takes outlines of the training and validation slices by each source's first
        box, which teach a segmenter in the place of masks.
      data_dir: where the data set stands now; None for where the run found it.
      observer: is told of data, methods and messages.
      cache_dir: where prepared slices are kept.

    Raises:
      InputError: as `btjax.commands.saliency.saliency`; slices without masks; no method that explains every slice.
    """
    require_devices()
    out = expanded(folder)
    check_new(out)
    with told(observer) as watching, held(out, watching):
        subject = open_run(expanded(checkpoint), config, data_dir, watching, cache_dir)
        if subject.tested.masks is None:
            raise InputError(f"--data_dir={subject.run.config.data.data_dir}: has no tumour masks, which boxes need")
        methods, _ = chosen_methods(config, subject)
        whole = [one for one in methods if len(explained_rows(config, subject, one)) == len(subject.tested)]
        if not whole:
            raise InputError(f"--methods={','.join(config.methods)}: none explains every test slice, expected one")
        claim(out, settings(subject, config))
        maps = compute_all_maps(config, subject, whole, out / "maps", watching.on_data)
        found = proposals_of(subject, maps, config.saliency_seed)
        report = proposals_report(subject, config, found)
        page = proposals_page(report, found, subject.tested)
        write_whole(out / "proposals.html", lambda beside: beside.write_text(page, encoding="utf-8"))
        write_json(out / PROPOSALS, msgspec.to_builtins(report))
        for done, (name, outlines) in enumerate(box_labels(subject, whole, config) if labels else (), 1):
            (out / LABELS).mkdir(exist_ok=True)
            outlines.save(out / LABELS / f"{name}.npz")
            watching.on_data("labels", done, len(whole) + 1)
        return report
