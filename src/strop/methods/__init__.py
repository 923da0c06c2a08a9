"""Methods by name. A new one is a file beside this one and a line here.

`method@library-version` is what that library computes by default, as read in that version. A name that more than one library gives to
something of its own is an alias, printed with its target.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.method import Method

METHODS = {
    "grpo@strop-1": "strop.methods.grpo:GRPO",
    "grpo@deepseekmath-2402.03300": "strop.methods.presets.grpo_deepseekmath:GRPO_DEEPSEEKMATH",
    "grpo@trl-1.16": "strop.methods.presets.grpo_trl:GRPO_TRL",
    "grpo@verl-0.9": "strop.methods.presets.grpo_verl:GRPO_VERL",
    "grpo@openrlhf-0.11": "strop.methods.presets.grpo_openrlhf:GRPO_OPENRLHF",
    "grpo@prime-rl-0.8": "strop.methods.presets.grpo_prime_rl:GRPO_PRIME_RL",
    "grpo@nemo-rl-0.7": "strop.methods.presets.grpo_nemo_rl:GRPO_NEMO_RL",
    "grpo@tinker-0.6": "strop.methods.presets.grpo_tinker:GRPO_TINKER",
    "dr-grpo": "strop.methods.dr_grpo:DR_GRPO",
    "rloo": "strop.methods.rloo:RLOO",
    "rloo@trl-1.16": "strop.methods.presets.rloo_trl:RLOO_TRL",
    "dapo": "strop.methods.dapo:DAPO",
    "gspo": "strop.methods.gspo:GSPO",
    "cispo": "strop.methods.cispo:CISPO",
    "reinforce++": "strop.methods.reinforce_pp:REINFORCE_PP",
    "ppo": "strop.methods.ppo:PPO",
    "cdas": "strop.methods.cdas:CDAS",
    "intuitor": "strop.methods.intuitor:INTUITOR",
    "flowrl": "strop.methods.flowrl:FLOWRL",
    "treepo": "strop.methods.treepo:TREEPO",
    "abstain": "strop.methods.abstain:ABSTAIN",
    "swarm": "strop.methods.swarm:SWARM",
    "swarm@genrl-0.1.4": "strop.methods.presets.swarm_genrl:SWARM_GENRL",
}

ALIASES = {"grpo": "grpo@strop-1"} | {name.rpartition("-")[0]: name for name in METHODS if "@" in name}
"""The bare `grpo` is strop's own; a library's without the version is the one version read."""


def target(name: str) -> str:
    """The method's own name, given it or an alias of it."""
    return ALIASES.get(name, name)


def known(name: str) -> bool:
    """A name of a method, or a sum of such names."""
    return all(target(piece.partition(".only(")[0].strip()) in METHODS for piece in name.split(" + "))


def method(name: str) -> Method:
    """By its name. `a + b` is a with b's idea, `a.only(gate)` one of a's ideas on its root: "gspo + dapo.only(gate)"."""
    first, *others = (_one(piece.strip()) for piece in name.split(" + "))
    for other in others:
        first = first + other
    return first


def _one(name: str) -> Method:
    from strop.seams.part import nearest

    whole, only, units = name.partition(".only(")
    if only:
        return _one(whole).only(*(unit.strip(" '\"") for unit in units.removesuffix(")").split(",")))
    if target(name) not in METHODS:
        raise ValueError(f"unknown method {name!r}. {nearest(name, (*METHODS, *ALIASES))}")
    module, attribute = METHODS[target(name)].split(":")
    return getattr(import_module(module), attribute)
