"""Applications of gradclip: forecasting models trained, compared and reported by six verbs."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

# A wheel carries the configuration inside the package, a checkout beside it.
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
