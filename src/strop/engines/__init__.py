"""Engines by the name a recipe gives them. Each is a function of (policy, recipe), imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.recipe import Recipe
    from strop.seams.engine import Engine

ENGINES = {"embedded": "strop.engines.embedded:beside"}
"""`module:function`."""


def build(policy: Any, recipe: Recipe) -> Engine:
    module, _, function = ENGINES[recipe.engine].partition(":")
    return getattr(import_module(module), function)(policy, recipe)


def known(name: str) -> str:
    """The name, or an error with the nearest one there is."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r}: there is none of this name. {nearest(name, ENGINES)}")
    return name
