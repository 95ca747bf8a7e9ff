"""Any key of a configuration with any value: a training that ends well, or one line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from apps import CONF
from apps.cli.command import search_path
from tests.forked import Warm

VALUES = (
    *("null", "true", "false", "text", "''", "nan", "inf", "-inf", "0", "1", "-1", "2", "0.5"),
    *("-0.5", "1e400", "1e-400", "99999999999999999999", "[]", "[1]", "[nan]", "[text]", "{}"),
    *("{a:1}", "{_target_:builtins.dict}", "{_target_:5}", "'0.5'", "'1'", "${seed}", "${nowhere}"),
    *("[[]]", "[null]", "/dev/zero", "/", ".", "nowhere/at/all", "none", "'true'", "\\n"),
)
CHANGES = (
    "{key}={value}",
    "++{key}={value}",
    "+{key}.more={value}",
    "~{key}",
    "+more_{key}={value}",
)


def flat(node: Any, key: str = "") -> Iterator[str]:
    """Every key below a node, sections as well as values."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            yield inner
            yield from flat(value, inner)


def keys_of(verb: str) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(verb, [search_path("energy"), "data=csv"])
    return sorted(set(flat(OmegaConf.to_container(config))))


KEYS = keys_of("train")


def check(warm: Warm, tiny: list[str], override: str) -> None:
    """No traceback, no death, no silence, whatever is given; nothing written by what is refused."""
    least = ["training.epochs=1", "app.samples_per_epoch=32", "run_dir=r", override]
    if "model" not in override and "features" not in override:
        least.append("model=mlp")  # which has no start that must be fitted
    with tempfile.TemporaryDirectory() as name:
        ended = warm.run("train", [*tiny, *least], Path(name), limit=120)
        lines = [line for line in ended.err.splitlines() if ": warning: " not in line]
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.err
        assert len(lines) == (ended.code == 2), ended.err
        if ended.code == 2:
            assert os.listdir(name) == []


changed = st.builds(
    lambda change, key, value: change.format(key=key, value=value),
    st.sampled_from(CHANGES),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
)


@settings(max_examples=6)
@given(override=changed)
def test_any_key_with_any_value(warm, tiny, override):
    check(warm, tiny, override)


@pytest.mark.slow
@settings(max_examples=5000)
@given(override=changed)
def test_many_keys_with_many_values(warm, tiny, override):
    check(warm, tiny, override)
