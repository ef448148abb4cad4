"""The hierarchy of HDL2BT: a network that tells whether there is a tumour, and one that tells which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.models.hierarchy import Hierarchy
from btjax.readers.classes import NO_TUMOR
from btjax.systems.system import Place, Prepared, System, prepare_slices

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config


def prepare_hierarchy(config: Config, slices: Slices, split: Split, place: Place) -> Prepared:
    """The whole network on slices, as `prepare_slices`.

    Raises:
      InputError: the data set has no class without a tumour.
    """
    if slices.classes[-1] != NO_TUMOR:
        found = ", ".join(slices.classes)
        raise InputError(
            f"--data_dir={config.data.data_dir}: its classes are {found}; HDL2BT expects {NO_TUMOR} as well"
        )
    return prepare_slices(config, slices, split, place)


SYSTEM = System(
    name="hdl2bt",
    title="HDL2BT",
    reference="Khan et al., Intelligent model for brain tumor identification using deep learning, 2022",
    model=Hierarchy,
    prepare=prepare_hierarchy,
    claims="92.13, called precision, of 3264 images of four classes from several sources",
)
