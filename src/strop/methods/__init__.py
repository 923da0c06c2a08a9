"""Methods by name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.method import Method

METHODS = {
    "grpo": "strop.methods.grpo:GRPO",
    "dr-grpo": "strop.methods.dr_grpo:DR_GRPO",
    "rloo": "strop.methods.rloo:RLOO",
    "dapo": "strop.methods.dapo:DAPO",
    "gspo": "strop.methods.gspo:GSPO",
    "cispo": "strop.methods.cispo:CISPO",
    "reinforce++": "strop.methods.reinforce_pp:REINFORCE_PP",
    "ppo": "strop.methods.ppo:PPO",
    "cdas": "strop.methods.cdas:CDAS",
}


def method(name: str) -> Method:
    from strop.seams.part import nearest

    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}. {nearest(name, METHODS)}")
    module, attribute = METHODS[name].split(":")
    return getattr(import_module(module), attribute)
