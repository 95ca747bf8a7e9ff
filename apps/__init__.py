"""Applications of gradclip: forecasting models trained, compared and reported by six verbs."""

from __future__ import annotations

from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"
