"""A hook of the build of apps/: the applications are installed from a clone, as editable."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableOnly(BuildHookInterface[Any]):
    """Refuses to build a wheel, whose packages `apps` and `data_scripts` would collide."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """RuntimeError unless the installation is editable."""
        if version != "editable":
            raise RuntimeError(
                "gradclip-apps is installed from a clone, as editable: "
                "pip install --editable . --editable ./apps"
            )
