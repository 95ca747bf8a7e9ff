"""Files and functions stay short enough to be read in one look."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("gradclip_core", "apps", "data_scripts", "benchmarks", "tests")
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 300, 50


def test_files_and_functions_are_short() -> None:
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 400
    assert not [long for path in files for long in _too_long(path)]


def _too_long(path: Path) -> Iterator[str]:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
    if (lines := len(text.splitlines())) > LINES_OF_A_FILE:
        yield f"{name}: {lines} lines"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in (node for node in ast.walk(ast.parse(text)) if isinstance(node, functions)):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > LINES_OF_A_FUNCTION:
            yield f"{name}: {node.name} has {lines} lines"
