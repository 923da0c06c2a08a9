"""Others: the policies beside the actor that a method asks, each behind an engine of its own in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strop import directory as folder
from strop import pico
from strop.directory import RunError
from strop.engines import remote
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import device_of, load
from strop.recipe import Recipe
from strop.seams.asked import INITIAL, REMOTE, STAGE, Asked
from strop.seams.context import Handle
from strop.seams.part import nearest


def others(
    asked: Mapping[str, Asked], actor: Any, recipe: Recipe, root: Path, stages: Mapping[str, str] | None = None
) -> dict[str, Handle]:
    """A handle of each, by name. `actor` has the weights that the run begins with; stages stand in `root`, by name."""
    return {name: _other(name, one.start, actor, recipe, root, stages or {}) for name, one in asked.items()}


def _other(name: str, start: str, actor: Any, recipe: Recipe, root: Path, stages: Mapping[str, str]) -> Handle:
    if start.startswith(REMOTE):
        where, _, model = start.rpartition(":")
        return remote.handle(where, model, recipe.seed)
    if start == INITIAL:
        if not hasattr(actor, "model"):
            raise RunError(f"the policy {name!r} begins as the actor does, which is no model here that could be copied")
        policy = actor.frozen(name)
    else:
        policy = load(str(_weights(name, start, root, stages)), device=device_of(recipe), chat=recipe.prompts)
    engine = EmbeddedEngine(
        policy.model, policy.tokenizer, seed=recipe.seed, slots=recipe.slots, cache=recipe.cache, eos_ids=policy.eos, name=name
    )
    return Handle(engine, policy.renderer)


def _weights(name: str, start: str, root: Path, stages: Mapping[str, str]) -> Path:
    """The directory that holds them: a model's, or the last whole checkpoint of a run, a program or a stage."""
    place = pico.path() if start == "pico" else Path(start)
    if start.startswith(STAGE):
        stage = start.removeprefix(STAGE)
        if stage not in stages:
            raise RunError(
                f"the policy {name!r} begins with what stage {stage!r} left, and no stage before has that name. {nearest(stage, stages)}"
            )
        place = root / stages[stage]
    if not place.is_dir():
        raise RunError(f"the policy {name!r} begins with {start}, and there is no such directory. Name a model's or a run's.")
    if not any((place / said).exists() for said in ("recipe.json", "program.json")):
        return place
    if not (good := folder.good_checkpoints(folder.last(place))):
        raise RunError(f"the policy {name!r} begins with {start}, which has no checkpoint that is whole. Go on with it first.")
    return good[-1]
