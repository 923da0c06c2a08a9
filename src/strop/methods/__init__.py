"""Methods by name: strop's own, and those of files. A new one of strop's is a file beside this one and a line here.

`method@library-version` is what that library computes by default, as read in that version. A name that more than one library gives to
something of its own is an alias, printed with its target.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from strop import own

if TYPE_CHECKING:
    from strop.method import Method
    from strop.program import Program

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
    "dupo": "strop.methods.dupo:DUPO",
    "gspo": "strop.methods.gspo:GSPO",
    "cispo": "strop.methods.cispo:CISPO",
    "reinforce++": "strop.methods.reinforce_pp:REINFORCE_PP",
    "stable-reinforce": "strop.methods.stable_reinforce:STABLE_REINFORCE",
    "stable-reinforce@r1-reward-3693413": "strop.methods.presets.stable_reinforce_r1_reward:STABLE_REINFORCE_R1_REWARD",
    "ppo": "strop.methods.ppo:PPO",
    "cdas": "strop.methods.cdas:CDAS",
    "intuitor": "strop.methods.intuitor:INTUITOR",
    "flowrl": "strop.methods.flowrl:FLOWRL",
    "treepo": "strop.methods.treepo:TREEPO",
    "abstain": "strop.methods.abstain:ABSTAIN",
    "b-score": "strop.methods.b_score:B_SCORE",
    "infra": "strop.methods.infra:INFRA",
    "sft": "strop.methods.sft:SFT",
    "sft-worked": "strop.methods.sft:SFT_WORKED",
    "sft-messages": "strop.methods.sft:SFT_MESSAGES",
    "dpo": "strop.methods.dpo:DPO",
    "rft": "strop.methods.rft:RFT",
    "mpo": "strop.methods.cascade:MPO",
    "ada-grpo": "strop.methods.arm:ADA_GRPO",
    "ampo": "strop.methods.ampo:AMPO",
    "ampo@mozerwang-88e70d5": "strop.methods.presets.ampo_mozerwang:AMPO_MOZERWANG",
    "mind-grpo": "strop.methods.mind:MIND_GRPO",
    "grpo-roc": "strop.methods.grpo_roc:GRPO_ROC",
    "svs": "strop.methods.svs:SVS",
    "raml": "strop.methods.raml:RAML",
    "resum-grpo": "strop.methods.resum:RESUM",
    "webresearcher": "strop.methods.webresearcher:WEBRESEARCHER",
    "vibe-agentic-grpo": "strop.methods.vibe_agentic:VIBE_AGENTIC_GRPO",
    "webweaver-grpo": "strop.methods.webweaver:WEBWEAVER_GRPO",
    "memento-grpo": "strop.methods.memento:MEMENTO_GRPO",
    "agentscaler-grpo": "strop.methods.agentscaler:AGENTSCALER_RL",
    "doctoragent-rl-grpo": "strop.methods.doctoragent_rl:DOCTORAGENT_GRPO",
    "webexplorer-grpo": "strop.methods.webexplorer:WEBEXPLORER",
    "websailor-grpo": "strop.methods.websailor:WEBSAILOR",
    "mcp-bench": "strop.methods.mcp_bench:MCP_BENCH",
    "pathfinder": "strop.methods.pathfinder:PATHFINDER",
    "pathfinder-rl": "strop.methods.pathfinder:PATHFINDER_RL",
    "parallel-grpo": "strop.methods.parallel_r1:PARALLEL",
    "parallel-bonus": "strop.methods.parallel_r1:BONUS",
    "coverage": "strop.methods.coverage:COVERAGE",
    "formalmath": "strop.methods.formalmath:FORMALMATH",
    "formalmath-released": "strop.methods.formalmath:FORMALMATH_RELEASED",
    "swarm": "strop.methods.swarm:SWARM",
    "swarm@genrl-0.1.4": "strop.methods.presets.swarm_genrl:SWARM_GENRL",
}

PROGRAMS = {
    "cascade": "strop.methods.cascade:CASCADE",
    "arm": "strop.methods.arm:ARM",
    "ampo-bargain": "strop.methods.ampo:AMPO_BARGAIN",
    "mind": "strop.methods.mind:MIND",
    "rstar2": "strop.methods.grpo_roc:RSTAR2",
    "resum": "strop.methods.resum:RESUM_PROGRAM",
    "webresearcher-stream": "strop.methods.webresearcher:WEBRESEARCHER_STREAM",
    "memento": "strop.methods.memento:MEMENTO",
    "agentscaler": "strop.methods.agentscaler:AGENTSCALER",
    "agentscaler-clean": "strop.methods.agentscaler:AGENTSCALER_CLEAN",
    "agentfounder": "strop.methods.agentfounder:AGENTFOUNDER",
    "mcp-bench-servers": "strop.methods.mcp_bench:MCP_BENCH_PROGRAM",
    "webexplorer": "strop.methods.webexplorer:WEBEXPLORER_PROGRAM",
    "vibe-agentic": "strop.methods.vibe_agentic:VIBE_AGENTIC",
    "webweaver": "strop.methods.webweaver:WEBWEAVER",
    "webweaver-released": "strop.methods.webweaver:WEBWEAVER_RELEASED",
    "websailor": "strop.methods.websailor:WEBSAILOR_PROGRAM",
    "doctoragent-rl": "strop.methods.doctoragent_rl:DOCTORAGENT",
    "doctoragent-rl-released": "strop.methods.doctoragent_rl:DOCTORAGENT_RELEASED",
    "reer": "strop.methods.reer:REER",
    "moose-chem2": "strop.methods.moose_chem2:MOOSE_CHEM2",
    "scalecua": "strop.methods.scalecua:SCALECUA",
    "flex-judge": "strop.methods.flex_judge:FLEX_JUDGE_SCENES",
    "svs-equations": "strop.methods.svs:SVS_EQUATIONS",
    "lifelong": "strop.methods.lifelong:LIFELONG",
    "lifelong-released": "strop.methods.lifelong:LIFELONG_RELEASED",
    "pathfinder-walks": "strop.methods.pathfinder:PATHFINDER_WALKS",
    "parallel-r1": "strop.methods.parallel_r1:PARALLEL_R1",
    "formalmath-proofs": "strop.methods.formalmath:FORMALMATH_PROGRAM",
    "parallel-r1-unseen": "strop.methods.parallel_r1:PARALLEL_R1_UNSEEN",
}
"""Stages of methods, by name: they stand for a method wherever something is trained."""

ALIASES = {"grpo": "grpo@strop-1"} | {name.rpartition("-")[0]: name for name in METHODS if "@" in name}
"""The bare `grpo` is strop's own; a library's without the version is the one version read."""


Elsewhere = Callable[[str], "Method | Program | None"]
"""What else a piece of a text may name, as a run does to the commands."""


def target(name: str) -> str:
    """The method's own name, given it or an alias of it."""
    return ALIASES.get(name, name)


def known(name: str) -> bool:
    """A name of strop's own, or a sum of such names."""
    return name in PROGRAMS or all(target(piece.partition(".only(")[0].strip()) in METHODS for piece in name.split(" + "))


def method(name: str, *, beside: Path | None = None, elsewhere: Elsewhere | None = None) -> Method:
    """By its name, or its place: `grpo`, `FILE.py`, `FILE.py:NAME`. `a + b` is a with b's idea, `a.only(gate)` one of a's ideas on its
    root: "gspo + dapo.only(gate)". Files are looked for `beside` first, then where the command runs."""
    from strop.program import Program

    found = named(name, beside=beside, elsewhere=elsewhere)
    if isinstance(found, Program):
        raise ValueError(f"{name!r} is a program of {len(found.plan)} stages, and one method is asked for here")
    return found


def named(name: str, *, beside: Path | None = None, elsewhere: Elsewhere | None = None) -> Method | Program:
    """What a name or place stands for: a method, a sum of methods, or a program of stages."""
    first, *others = (_one(piece.strip(), beside, elsewhere) for piece in name.split(" + "))
    for other in others:
        first = first + other  # type: ignore[operator]  # a program refuses, in words
    return first


def _one(name: str, beside: Path | None, elsewhere: Elsewhere | None) -> Method | Program:
    from strop.seams.part import nearest

    whole, only, units = name.partition(".only(")
    if only:
        return method(whole, beside=beside, elsewhere=elsewhere).only(*(unit.strip(" '\"") for unit in units.removesuffix(")").split(",")))
    if (stands := {**METHODS, **PROGRAMS}.get(target(name))) is not None:
        module, attribute = stands.split(":")
        return getattr(import_module(module), attribute)
    if (where := own.place(name)) is not None:
        return of_file(where.near(beside), beside=beside, elsewhere=elsewhere)
    if elsewhere is not None and (found := elsewhere(name)) is not None:
        return found
    raise ValueError(_of_a_stage(name) or f"unknown method {name!r}. {nearest(name, (*METHODS, *PROGRAMS, *ALIASES))} {own.near(name)}")


def _of_a_stage(name: str) -> str:
    """Where a stage's method is to be had, which pages and lists name and nobody can ask for by name."""
    from strop.method import Method

    for program, place in PROGRAMS.items():
        module = place.partition(":")[0]
        for attribute, value in vars(import_module(module)).items():
            if isinstance(value, Method) and value.name == name:
                return (
                    f"{name!r} is the method of a stage of {program!r}. To ask for it alone, write `from {module} import {attribute}` "
                    f"in a file of your own: FILE.py:{attribute}"
                )
    return ""


def of_file(where: own.Place, *, beside: Path | None = None, elsewhere: Elsewhere | None = None) -> Method | Program:
    """What stands at a place; of a file alone its recipe's method, or the only one that it defines."""
    from strop.method import Method
    from strop.program import Program

    asked = getattr(getattr(own.loaded(where.file), "RECIPE", None), "method", None)
    if where.name or asked is None:
        programs = [name for name, value in own.defined(own.loaded(where.file)).items() if isinstance(value, Program)]
        first = programs if len(programs) == 1 else []  # the others are its stages' methods
        found = own.one(where, "method", lambda value: isinstance(value, Method | Program), first)
    else:
        found = asked if isinstance(asked, Method | Program) else named(asked, beside=where.file.parent, elsewhere=elsewhere)
    if target(found.name) in {**METHODS, **PROGRAMS} and named(found.name).fingerprint != found.fingerprint:
        raise ValueError(
            f"{where.file}: its method differs from strop's {found.name!r}; give it a name of its own: `.but('my-{found.name}', …)`"
        )
    return found


def all_of_file(file: Path) -> dict[str, Method | Program]:
    """{place: method or program} of all that a file defines."""
    from strop.method import Method
    from strop.program import Program

    return {f"{file}:{name}": value for name, value in own.defined(own.loaded(file)).items() if isinstance(value, Method | Program)}
