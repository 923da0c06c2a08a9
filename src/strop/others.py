"""Others: the policies beside the actor. Those that a method asks, each behind an engine of its own in this process; and the weights that
those begin with which are trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strop import directory as folder
from strop import pico
from strop.directory import RunError
from strop.engines import remote
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import device_of, load, of
from strop.recipe import Recipe
from strop.seams.asked import INITIAL, REMOTE, STAGE, Asked, Trained
from strop.seams.context import Handle
from strop.seams.part import nearest


def others(
    policies: Mapping[str, Asked | Trained], actor: Any, recipe: Recipe, root: Path, stages: Mapping[str, str] | None = None
) -> dict[str, Handle]:
    """A handle of each that is asked, by name. `actor` has the weights that the run begins with; stages stand in `root`, by name."""
    asked = {name: one.start for name, one in policies.items() if isinstance(one, Asked)}
    return {name: _other(name, start, actor, recipe, root, stages or {}) for name, start in asked.items()}


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


def moving(
    trained: Mapping[str, Trained],
    actor: Any,
    recipe: Recipe,
    root: Path,
    stages: Mapping[str, str],
    left: Mapping[str, str],
    given: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The policies that are trained, with the weights they begin with: those that the stage before left in `root`, else as each says.
    `given`: handed over by name, as the actor then is too; whoever is not among them begins as a copy of it."""
    for name in given or {}:
        if name not in trained:
            raise RunError(f"a policy {name!r} was handed over, which is not trained here. {nearest(name, ('actor', *trained))}")
    return {name: _moving(name, one.start, actor, recipe, root, stages, left.get(name, ""), given) for name, one in trained.items()}


def _moving(
    name: str, start: str, actor: Any, recipe: Recipe, root: Path, stages: Mapping[str, str], left: str, given: Mapping[str, Any] | None
) -> Any:
    place = root / left if left else None if start == INITIAL else _weights(name, start, root, stages)
    if given is not None:
        policy = given.get(name) or copy.deepcopy(actor)
        if place is not None:
            policy.restore(place)
        return policy
    policy = copy.deepcopy(actor) if place is None else of(recipe.but(model=str(place)))
    if not actor.tokenizer.get_vocab().items() <= policy.tokenizer.get_vocab().items():
        raise RunError(
            f"the policy {name!r} begins with {place}, where some of the actor's tokens are others or none: feeds and other policies write "
            "in the actor's. Begin with a model of the same tokenizer; it may have more (`strop tokens`)."
        )
    return policy


def _weights(name: str, start: str, root: Path, stages: Mapping[str, str]) -> Path:
    """The directory that holds them: a model's, or what the last whole checkpoint of a run, a program or a stage holds."""
    what = f"the policy {name!r} begins with {start}"
    which = ""
    if start.startswith(STAGE):
        stage, _, which = start.removeprefix(STAGE).partition(":")
        if stage not in stages:
            raise RunError(
                f"the policy {name!r} begins with what stage {stage!r} left, and no stage before has that name. {nearest(stage, stages)}"
            )
        place = root / stages[stage]
    else:
        place, which = (pico.path(), "") if start == "pico" else folder.one_of(start)
    if not place.is_dir():
        raise RunError(f"{what}, and there is no such directory. Name a model's or a run's.")
    if not any((place / said).exists() for said in ("recipe.json", "program.json")):
        return place
    if not (good := folder.good_checkpoints(folder.last(place))):
        raise RunError(f"{what}, which has no checkpoint that is whole. Go on with it first.")
    return folder.held(good[-1], which)
