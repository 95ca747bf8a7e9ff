"""The cards of docs/strategies: one for each preset, whose code makes the same rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from torch import Tensor, nn

from gradclip_core import ClipNorm, Median
from tests.presets import preset

ROOT = Path(__file__).parents[1]
PRESETS = {path.stem: path for path in (ROOT / "conf" / "clipping").glob("*.yaml")}
INDEX = ROOT / "docs" / "strategies.md"
PAGES = sorted((ROOT / "docs" / "strategies").glob("*.md"))
CARDS = [
    (name, text)
    for page in PAGES
    for name, text in re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S)
]
every = pytest.mark.parametrize(("name", "card"), CARDS, ids=[name for name, _ in CARDS])


def described(thing: Any) -> Any:
    """What an object was made of, as values that can be compared."""
    if isinstance(thing, Tensor):
        return thing.tolist()
    if isinstance(thing, re.Pattern):
        return thing.pattern
    if isinstance(thing, dict):
        return {key: described(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [described(value) for value in thing]
    if isinstance(thing, nn.Module) or type(thing).__module__.startswith("gradclip_core"):
        names = getattr(thing, "__dict__", None) or getattr(thing, "__slots__", ())
        return type(thing), described({name: getattr(thing, name) for name in names})
    return thing


def test_every_strategy_has_one_card() -> None:
    assert sorted(name for name, _ in CARDS) == sorted(PRESETS)


def test_every_strategy_stands_in_the_table() -> None:
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", INDEX.read_text(), re.M)) == sorted(PRESETS)


def test_pictures_of_cards_are_those_of_their_strategy() -> None:
    shown = {name: re.findall(r"\(\.\./images/(\w+)\.svg\)", card) for name, card in CARDS}
    pictures = {path.stem for path in (INDEX.parent / "images").glob("*.svg")} - {"spike"}
    assert {name for name, found in shown.items() if found} == pictures
    assert all(found in ([], [name]) for name, found in shown.items())


@every
def test_the_code_of_a_card_makes_the_rule_of_its_preset(name: str, card: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    namespace: dict[str, Any] = {}
    exec(compile(code, name, "exec"), namespace)
    made = instantiate(preset(name), _convert_="all")
    assert described(namespace["clipper"]) == described(made)


@every
def test_a_card_says_when_and_at_what_price(name: str, card: str) -> None:
    assert "**When** " in card
    assert "**State** " in card


def test_pages_are_linked() -> None:
    assert all(f"(strategies/{page.name})" in INDEX.read_text() for page in PAGES)
    assert "(docs/strategies.md)" in (ROOT / "README.md").read_text()


def test_settings_that_differ_are_told_apart() -> None:
    same = described(ClipNorm(Median(2.0), by="row", exclude="head"))
    assert same == described(ClipNorm(Median(2.0), by="row", exclude="head"))
    assert same != described(ClipNorm(Median(2.5), by="row", exclude="head"))
    assert same != described(ClipNorm(Median(2.0), by="row", exclude="tail"))
    assert same != described(ClipNorm(Median(2.0), by="row", exclude="head", nonfinite="zero"))
