"""Names in the configurations of older runs, and what they are called now."""

from __future__ import annotations

from typing import Any

from apps.cli.former_keys import present_key

# Modules whose classes stand in a run's configuration as `_target_`, by the name they had.
_MODULES = {
    "apps.averaging": "apps.run.averaging",
    "apps.faults": "apps.run.stress",
    "apps.mlflow": "apps.run.mlflow_logger",
    "apps.task": "apps.base.task",
}


def renamed(node: Any) -> Any:
    """A copy of a plain configuration in which targets and their keys have present names."""
    if isinstance(node, dict):
        target = node.get("_target_")
        return {
            present_key(target, key): _target(value) if key == "_target_" else renamed(value)
            for key, value in _with_roles(node).items()
        }
    if isinstance(node, list):
        return [renamed(value) for value in node]
    return node


def _with_roles(node: dict[Any, Any]) -> dict[Any, Any]:
    """A table of energy whose covariates, all or those named, were known ahead of a forecast."""
    if node.get("_target_") != "apps.energy.sources.Csv" or "covariates" not in node:
        return node
    others = {key: value for key, value in node.items() if key != "covariates"}
    named = node["covariates"]
    return others | {"known": "all" if named is None else named, "past": []}


def _target(path: Any) -> Any:
    module, _, name = str(path).rpartition(".")
    return f"{_MODULES[module]}.{name}" if module in _MODULES else path
