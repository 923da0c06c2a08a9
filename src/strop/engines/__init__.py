"""Engines by the name a recipe gives them. Each is a function of (policy, recipe), imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from strop.engines import options
from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.recipe import Recipe
    from strop.seams.engine import Engine

ENGINES = {"embedded": "strop.engines.embedded:beside", "vllm": "strop.engines.vllm:asked"}
"""`module:function`."""


def build(policy: Any, recipe: Recipe) -> Engine:
    module, _, function = ENGINES[recipe.engine.partition(":")[0]].partition(":")
    return getattr(import_module(module), function)(policy, recipe)


def known(engine: str) -> str:
    """The engine and its options, or an error with the nearest there are."""
    name = engine.partition(":")[0]
    if name == "remote":
        raise ValueError(
            f"engine={engine!r}: a remote endpoint gives text, not the tokens it drew with their log-probabilities, so nothing can be "
            "learned from it. Evaluate with it: `strop eval NAME --engine remote:URL`. To train through a server: engine=vllm."
        )
    if name not in ENGINES:
        raise ValueError(f"engine={engine!r}: there is none of this name. {nearest(name, ENGINES)}")
    options.read(engine)
    return engine
