"""No module imports itself by way of others, imports for annotations alone counted as well."""

from __future__ import annotations

import graphlib
from pathlib import Path

import grimp
import pytest


def circle(*packages: str) -> list[str]:
    """The modules of a circle of imports, the first one again at the end; nothing without one."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_goes_in_a_circle() -> None:
    assert circle("gradclip_core", "apps", "data_scripts") == []


def test_a_circle_is_found_where_half_of_it_is_for_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "roundabout"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from roundabout import two\n")
    guarded = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from roundabout import one\n"
    )
    (package / "two.py").write_text(guarded)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"roundabout.one", "roundabout.two"} == set(circle("roundabout"))
