"""The examples in the docstrings of the library run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import pydoc
import re
from abc import ABC, abstractmethod
from typing import Any

import pytest

import gradclip_core
from gradclip_core import functional, optimizers


def modules() -> list[Any]:
    found = pkgutil.walk_packages(gradclip_core.__path__, "gradclip_core.")
    names = [
        item.name for item in found if not re.search("lightning|keras|transformers", item.name)
    ]
    return [importlib.import_module(name) for name in names]


def examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for module in modules() for test in finder.find(module)]
    return {test.name: test for test in tests if test.examples}


EXAMPLES = examples()
PUBLIC = {name: getattr(gradclip_core, name) for name in gradclip_core.__all__} | {
    "optimizers.clipped": optimizers.clipped,
    "optimizers.Clipping": optimizers.Clipping,
    **{f"functional.{name}": getattr(functional, name) for name in functional.__all__},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    lines: list[str] = []
    runner.run(EXAMPLES[name], out=lines.append)
    assert runner.failures == 0, "".join(lines)


def test_there_are_many() -> None:
    assert len(EXAMPLES) >= 60


@pytest.mark.parametrize("name", PUBLIC)
def test_help_begins_with_a_sentence_and_an_example(name: str) -> None:
    first, second, *_ = (inspect.getdoc(PUBLIC[name]) or "").split("\n\n")
    assert first.endswith(".")
    assert "Examples:" in second


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_documented_where_it_is(name: str) -> None:
    thing = PUBLIC[name]
    if isinstance(thing, type) and "__init__" not in vars(thing):
        return
    text = inspect.getdoc(thing) or ""
    said = text.partition("\nArgs:\n")[2]
    assert [
        name for name in inspect.signature(thing).parameters if f"    {name}: " not in said
    ] == []


@pytest.mark.parametrize("name", ["ClipNorm", "Percentile", "Guard"])
def test_help_is_of_the_library_and_not_of_torch(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(PUBLIC[name]))
    assert len(text.splitlines()) < 250
    assert "named_modules" not in text
    assert ">>> " in text.partition("Args:")[0]


def test_a_clipper_may_be_an_abstract_class() -> None:
    class Base(gradclip_core.Clipper, ABC):
        @abstractmethod
        def share(self) -> float: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]
    assert "share" in dir(Base)
    assert "state_dict" in dir(gradclip_core.ClipNorm(1.0))
