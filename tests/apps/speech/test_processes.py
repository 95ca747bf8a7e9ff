"""Training of the application in two processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.apps.processes import assert_shards_make_the_steps_of_copies


@pytest.mark.slow
def test_shards_make_the_steps_of_copies(tones: Sequence[str], tmp_path: Path) -> None:
    fixed = ["model.dropout=0", "app.batch_size=4"]
    fixed += ["app.augment.num_time_masks=0", "app.augment.num_band_masks=0"]
    assert_shards_make_the_steps_of_copies(tmp_path, [*tones, *fixed])
