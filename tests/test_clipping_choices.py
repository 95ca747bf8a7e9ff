"""Every file in conf/clipping: commented, buildable, and a row of the README's table."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from apps.configuration import instantiate
from gradclip_core import Clipper

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "conf" / "clipping").glob("*.yaml"))
choices = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@choices
def test_a_choice_builds_a_clipper(path: Path) -> None:
    config = OmegaConf.create({"clipping": OmegaConf.load(path)})
    assert isinstance(instantiate(config, "clipping"), Clipper)


@choices
def test_a_choice_says_what_it_does_and_what_its_keys_mean(path: Path) -> None:
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    silent = [line for line in lines if "#" not in line and "_target_" not in line]
    assert set(silent) <= {"max_norm:", "by: parameter"}
    assert max(map(len, lines)) <= 100


@choices
def test_a_choice_has_a_row_in_the_readme(path: Path) -> None:
    assert f"| `{path.stem}` | `" in (ROOT / "README.md").read_text()


def test_a_threshold_inside_a_threshold_is_built() -> None:
    config = OmegaConf.create({"clipping": OmegaConf.load(ROOT / "conf/clipping/scheduled.yaml")})
    config.clipping.max_norm.threshold = {"_target_": "gradclip_core.Median", "factor": 3.0}
    built = instantiate(config, "clipping")
    assert built.threshold.threshold.factor == 3.0
