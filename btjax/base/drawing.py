"""Matplotlib, imported whatever $MPLBACKEND says: btjax draws into files, and needs no window."""

from __future__ import annotations

import os
import sys


def import_matplotlib() -> None:
    """Imports Matplotlib; to be called before any other import of it.

    A notebook tells the commands that it starts to draw into it, by a backend that their environment need not have,
    and with a name that is unknown there Matplotlib cannot even be imported. A backend that is known stays the one
    that pyplot takes; figures of btjax never ask for it.
    """
    if "matplotlib" in sys.modules:
        return
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib

        if wanted:
            try:
                matplotlib.rcParams["backend"] = wanted
            except ValueError:
                matplotlib.rcParams["backend"] = "agg"
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
