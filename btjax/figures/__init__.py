"""Arrays drawn as matplotlib figures."""

from btjax.base.drawing import import_matplotlib

import_matplotlib()
