"""AgentScaler (arXiv:2509.13311): an agent learns to call tools in many domains that are made and verified by machine.

    make      schemas, tools that read and write, and which tool's answer another one asks for; walks over them are tasks
    act       an agent tries them in a world that carries out every call
    verify    kept is what ends well formed, without loops, in the database that the task's own calls leave; where those only read, call for
              call. Errors on the way stay in
    learn     cross-entropy on what the agent said and called; what the user and the tools say is context
              first on general domains, then on one vertical

The paper prints no learning rate, size or number of passes. `AGENTSCALER_CLEAN` leaves out episodes with errors; `AGENTSCALER_RL` is paid
for the same verdict instead, which the paper does not try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from strop.method import Method
from strop.methods.cascade import COLLECT
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, share, steps
from strop.records import Group, Rollout, Scores
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.recorded import Earlier, right_ones
from strop.seams.tree import repeats
from strop.seams.world import calls
from strop.worlds.calls import Hermes, Line


def rejected(rollout: Rollout, scores: Scores, errors: bool = True, window: int = 12, times: int = 4) -> str:
    """By which filter, in their order; by none, what is kept."""
    if rollout.stop != "finished":
        return "not finished"
    if repeats(rollout.text, window, times):
        return "loop"
    if scores.get(rollout, "outcome") != 1:
        return "another end"
    return "" if errors or all(ok for _, ok, _ in calls(rollout)) else "errors"


@part(gives="demos")
def verified(groups: Sequence[Group], scores: Scores, rng: Random, *, errors: bool = True, window: int = 12, times: int = 4) -> list[Group]:
    """Episodes that pass every filter, as demonstrations; those in which a call failed too, unless `errors` is False. A loop is a stretch
    of `window` letters that stands there `times` times."""
    kept = (tuple(r for r in g.rollouts if not rejected(r, scores, errors, window, times)) for g in groups)
    return right_ones([replace(g, rollouts=some) for g, some in zip(groups, kept, strict=True) if some], scores, rng)


AGENTSCALER_RL = GRPO.but(
    "agentscaler-grpo",
    paper="2509.13311",
    idea=("sampler",),
    sampler=Episodes(n=8, turns=16, max_tokens=128, observation=128, calls=Hermes()),
)

SHORT = Episodes(n=8, turns=8, max_tokens=14, observation=24, calls=Line())
"""Room for two calls, each with a look at its tool's line, some errors and the last word."""

TAUGHT = SFT.but("sft-database", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SHORT)
ACT = COLLECT.but("act", idea=("sampler",), sampler=replace(SHORT, n=4), tasks=64)


def learned(name: str, stage: str, errors: bool = True) -> Method:
    """Learns from what an earlier stage did and was verified."""
    return SFT.but(name, idea=("feed",), feed=Earlier(stage, verified(errors=errors)))


def phases(name: str, errors: bool = True) -> Program:
    """An agent that imitates first, as the paper's can call tools already; then general domains, and one vertical of another size."""
    said = "" if errors else "-clean"
    there = "database:domains=1,tools=5"
    return Program(
        name,
        (
            Stage("imitate", TAUGHT, steps(80), task="database", pace=10.0),
            Stage("act", ACT, steps(16), task="database"),
            Stage("general", learned(f"sft-general{said}", "act", errors), share(0.5), task="database", pace=3.0),
            Stage("act-there", ACT, steps(8), task=there),
            Stage("vertical", learned(f"sft-vertical{said}", "act-there", errors), rest(), task=there, pace=3.0),
        ),
        paper="2509.13311",
    )


AGENTSCALER = phases("agentscaler")
AGENTSCALER_CLEAN = phases("agentscaler-clean", errors=False)
