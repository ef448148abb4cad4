"""The memory that a preset's programs take, as the compiler plans it: nothing is run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from btjax.systems.presets import preset
from experiments.bench.programs import programs

if TYPE_CHECKING:
    from collections.abc import Sequence

PAPER = ("cnn_paper", "vgg16_paper", "unet_paper", "pathways_paper", "efficientnet_b3_paper")
"""The presets of the papers' own sizes."""

_MEASURED = ("predict", "train", "evaluate")


def measure_memory(presets: Sequence[str] = PAPER) -> dict[str, Any]:
    """Compiles the programs of presets for the present device and asks what memory they take.

    Args:
      presets: names of presets that train a network.

    Returns:
      JSON values: `presets`, by preset and program `argument_mib` (parameters, optimizer and slices), `output_mib`,
      `alias_mib` (outputs in the arguments' place), `temp_mib` (what is held meanwhile), and `compile_seconds`.
    """
    found: dict[str, Any] = {}
    for name in presets:
        found[name] = {}
        for program in programs(preset(name), methods=()):
            if program.name in _MEASURED:
                print(f"memory: {name}: compiles {program.name}", file=sys.stderr, flush=True)
                found[name][program.name] = program.memory()
    return {"presets": found}


def describe_memory(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `memory`."""
    return [
        f"  {preset}, {program}: {figures['argument_mib']:.0f} MiB of arguments, {figures['temp_mib']:.0f} MiB besides "
        f"(compiled in {figures['compile_seconds']:.0f} s)"
        for preset, found in result["presets"].items()
        for program, figures in found.items()
    ]
