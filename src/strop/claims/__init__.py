"""Claims by name. A claim stands in `strop.experiments`, under its method's name; here is only where to find it.

One in a Python file of the user's own is registered when that file is named: `strop claim run FILE.py`, or `FILE.py:NAME`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from strop import own

if TYPE_CHECKING:
    from strop.claims.claim import Claim

OWN = {
    "cdas-spread": "strop.experiments.cdas:SPREAD",
    "cdas-fixed-point": "strop.experiments.cdas:FIXED_POINT",
    "cdas-accuracy": "strop.experiments.cdas:ACCURACY",
    "treepo-saving": "strop.experiments.treepo:SAVING",
    "treepo-coverage": "strop.experiments.treepo:COVERAGE",
    "treepo-learning": "strop.experiments.treepo:LEARNING",
    "treepo-credit": "strop.experiments.treepo:CREDIT",
    "flowrl-tie": "strop.experiments.flowrl:TIE",
    "flowrl-diversity": "strop.experiments.flowrl:DIVERSITY",
    "intuitor-premise": "strop.experiments.intuitor:PREMISE",
    "intuitor-rows": "strop.experiments.intuitor:ROWS",
    "intuitor-online": "strop.experiments.intuitor:ONLINE",
    "intuitor-inverted": "strop.experiments.intuitor:INVERTED",
    "abstain-coverage": "strop.experiments.abstain:COVERAGE",
    "abstain-score": "strop.experiments.abstain:SCORE",
    "dupo-tie": "strop.experiments.dupo:TIE",
    "stable-reinforce-window": "strop.experiments.stable_reinforce:WINDOW",
    "cascade-accuracy": "strop.experiments.cascade:ACCURACY",
    "grpo-roc-clean": "strop.experiments.grpo_roc:CLEAN",
    "rstar2-faults": "strop.experiments.grpo_roc:FAULTS",
    "svs-coverage": "strop.experiments.svs:COVERAGE",
    "parallel-r1-share": "strop.experiments.parallel_r1:SHARE",
    "arm-tokens": "strop.experiments.arm:TOKENS",
    "arm-accuracy": "strop.experiments.arm:ACCURACY",
    "ampo-tokens": "strop.experiments.ampo:TOKENS",
    "ampo-surplus": "strop.experiments.ampo:SURPLUS",
    "mind-length": "strop.experiments.mind:LENGTHS",
    "mind-tokens": "strop.experiments.mind:TOKENS",
    "mind-accuracy": "strop.experiments.mind:ACCURACY",
    "pathfinder-types": "strop.experiments.pathfinder:TYPES",
    "mcp-bench-nothing": "strop.experiments.mcp_bench:NOTHING",
    "mcp-bench-shuffle": "strop.experiments.mcp_bench:SHUFFLE",
    "mcp-bench-fuzzy": "strop.experiments.mcp_bench:FUZZY",
    "mcp-bench-distractors": "strop.experiments.mcp_bench:DISTRACTORS",
    "memento-learned": "strop.experiments.memento:LEARNED",
    "agentscaler-domains": "strop.experiments.agentscaler:DOMAINS",
    "websailor-cyclic": "strop.experiments.websailor:TWO_SIDED",
    "websailor-open": "strop.experiments.websailor:ONE_SIDED",
    "websailor-managed": "strop.experiments.websailor:MANAGED",
    "agentfounder-first-steps": "strop.experiments.agentfounder:FIRST",
    "webexplorer-evolve": "strop.experiments.webexplorer:EVOLVE",
    "resum-untrained": "strop.experiments.resum:UNTRAINED",
    "resum-rows": "strop.experiments.resum:ROWS",
    "raml-support": "strop.experiments.raml:SUPPORT",
    "raml-forecast": "strop.experiments.raml:FORECAST",
    "flex-judge-transfer": "strop.experiments.flex_judge:TRANSFER",
    "flex-judge-forgetting": "strop.experiments.flex_judge:FORGETTING",
    "reer-search": "strop.experiments.reer:FOUND",
    "moose-chem2-levels": "strop.experiments.moose_chem2:LEVELS",
    "moose-chem2-votes": "strop.experiments.moose_chem2:VOTES",
    "moose-chem2-pairs": "strop.experiments.moose_chem2:PAIRS",
    "b-score-history": "strop.experiments.b_score:BY_HISTORY",
    "b-score-single": "strop.experiments.b_score:OVER_SINGLE",
    "infra-mix": "strop.experiments.infra:MIX",
    "infra-code": "strop.experiments.infra:CODE",
    "webresearcher-rounds": "strop.experiments.webresearcher:FLATTER",
    "webweaver-48": "strop.experiments.webweaver:LARGE",
    "webweaver-8": "strop.experiments.webweaver:SMALL",
    "vibe-agentic-contracts": "strop.experiments.vibe_agentic:CONTRACTS",
    "vibe-agentic-both": "strop.experiments.vibe_agentic:BOTH",
    "doctoragent-rl-budgets": "strop.experiments.doctoragent_rl:BUDGETS",
    "doctoragent-rl-display": "strop.experiments.doctoragent_rl:DISPLAY",
    "coverage-predicts": "strop.experiments.coverage:PREDICTS",
    "formalmath-negation": "strop.experiments.formalmath:NEGATION",
    "lifelong-held-out": "strop.experiments.lifelong:HELD_OUT",
    "lifelong-refusals": "strop.experiments.lifelong:REFUSALS",
    "lifelong-evolution": "strop.experiments.lifelong:EVOLUTION",
    "scalecua-labels": "strop.experiments.scalecua:LABELS",
}
"""strop's own, {name: module:attribute}; imported when asked for."""
CLAIMS: dict[str, str] = {**OWN}
"""Those, and {name: FILE.py:attribute} of the files that were named."""


def claims_of(method: str) -> list[str]:
    """The claims about a method: those of its file's name in `strop.experiments`."""
    from strop.methods import METHODS, PROGRAMS

    if (where := own.place(method)) is not None:
        from strop.methods import of_file as method_of

        called = method_of(where.near(None)).name
        return [name for name, place in of_place(own.Place(where.file)).items() if at(place).method == called]
    file = {**METHODS, **PROGRAMS}[method].partition(":")[0].replace("strop.methods.", "strop.experiments.", 1)
    return [name for name, where in CLAIMS.items() if where.partition(":")[0] == file]


def of_file(text: str) -> list[str]:
    """The claims that a file of the user's own defines, or the one at `FILE.py:NAME`, registered by their names."""
    where = own.place(text)
    assert where is not None
    found = of_place(where)
    for name, place in found.items():
        if CLAIMS.get(name, place) != place:
            raise ValueError(f"{where.file}: strop has a claim {name!r} already ({CLAIMS[name]}); give yours a name of its own")
    if not found:
        raise ValueError(f"{where.file} defines no claim: a value `Claim(...)` at its top level (docs/add-a-method.md)")
    CLAIMS.update(found)
    return list(found)


def of_place(where: own.Place) -> dict[str, str]:
    """{name: FILE.py:attribute} of the claims that a file defines, or of the one that is named; what it imported is another's."""
    from strop.claims.claim import Claim

    where = where.near(None)
    if where.name:
        held = {where.name: own.one(where, "claim", lambda value: isinstance(value, Claim))}
    else:
        held = {key: value for key, value in own.defined(own.loaded(where.file)).items() if isinstance(value, Claim)}
    return {value.name: f"{where.file}:{key}" for key, value in held.items()}


def asked(text: str) -> list[str]:
    """Names of the claims that a text names: one of strop's, those of FILE.py, or FILE.py:NAME."""
    return of_file(text) if text not in CLAIMS and own.place(text) is not None else [text]


def named(name: str) -> Claim:
    from strop.seams.part import nearest

    if name not in CLAIMS:
        raise ValueError(f"no claim {name!r}. {nearest(name, CLAIMS)} {own.near(name)}")
    found = at(CLAIMS[name])
    if found.name != name:
        raise ValueError(f"{CLAIMS[name]} is named {found.name!r}, not {name!r}")
    return found


def at(where: str) -> Claim:
    """What stands at `module:attribute` or `FILE.py:attribute`: how a claim travels to another process."""
    place, _, attribute = where.rpartition(":")
    return getattr(own.loaded(Path(place)) if place.endswith(".py") else import_module(place), attribute)
