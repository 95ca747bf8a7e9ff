"""Training of the application in two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.processes import assert_shards_make_the_steps_of_copies


@pytest.mark.slow
def test_shards_make_the_steps_of_copies(small: list[str], tmp_path: Path) -> None:
    fixed = ["~callbacks.averaging", "model.dropout=0", "app.batch_size=16"]
    assert_shards_make_the_steps_of_copies(tmp_path, [*small, *fixed])
