"""DoctorAgent-RL (arXiv:2505.19630): how it could be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, end_of, held_out
from strop.methods.doctoragent_rl import IMITATED, RELEASED, SAYS, SMALL, budget, dialogues, reinforced
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.episode import Episodes
from strop.seams.part import part
from strop.seams.reward import outcome
from strop.seams.world import Seat, World
from strop.worlds.clinic import FREE


@part(gives="curve")
def right_within(trace: Trace) -> Curve:
    """Held-out cases of which 2, 4 and 6 turns are told: how often the diagnosis is right in time, the mean of the three shares."""
    return [(float(e["spent"]), fmean(e["means"][f"within_{turns}"] for turns in (2, 4, 6))) for e in trace.held_out]


@part(gives="number")
def turns_follow(trace: Trace) -> float:
    """Turns that are taken where 10 are told, less those where 2 are, at the end."""
    means = trace.held_out[-1]["means"]
    return float(means["taken_10"] - means["taken_2"])


@dataclass(frozen=True)
class HalfTold(Episodes):
    """A number above ten is not told: so a policy meets dialogues of both kinds."""

    def opening(self, task: Task, world: World | None, turns: int = 0, first: str = "") -> str:
        return super().opening(task, world, turns, first) if turns <= FREE else first or task.prompt

    def told(self, observation: str, turn: int, seat: Seat) -> str:
        return super().told(observation, turn, seat) if seat.turns <= FREE else observation


TOLD = dialogues(budget(2, 18, **SAYS))
BOTH = IMITATED.but(
    "sft-clinic-both",
    sampler=HalfTold(n=TOLD.n, turns=TOLD.turns, max_tokens=TOLD.max_tokens, observation=TOLD.observation),
)
"""What the arms begin with has read numbers that mean nothing, and dialogues without: no arm's messages are new to it."""
FIXED = reinforced("doctoragent-rl-fixed", budget(10, 10, **SAYS))
HIDDEN = reinforced("doctoragent-rl-hidden", budget(2, 10, says="", each=""))
ARMS = (
    Arm("shown", SMALL),
    Arm("fixed", FIXED, control="ten turns in every dialogue"),
    Arm("hidden", HIDDEN, control="the same numbers of turns, and nothing says them"),
    Arm("by rollout", RELEASED, control="a number of its own for each rollout of a group: as released"),
    Arm("outcome", SMALL.but("doctoragent-rl-outcome", reward=outcome()), control="what a right diagnosis in time is worth, and no turn"),
)
RUN: dict[str, Any] = {
    "method": "doctoragent-rl",
    "recipe": Recipe(task="clinic", steps=100_000, lr=3e-4, checkpoint_every=100_000),
    "base": Recipe(method=BOTH, task="clinic", steps=2000, lr=1e-3, eval_tasks=0, checkpoint_every=2000),
    "base_seeds": "one",
    "arms": ARMS,
    "measure": right_within(),
    "profiles": {
        "quick": Profile((0,), "30000 decoded", 10, arms=("shown", "fixed", "hidden")),
        "full": Profile((0, 1, 2, 3), "100000 decoded", 18, arms=("shown", "fixed", "hidden")),
        "extended": Profile((0, 1, 2, 3), "100000 decoded", 26),
    },
    "held_out": HeldOut(tasks=500, samples=1, at=(0.0, 1.0), max_tokens=dialogues(budget(2, 10)).max_tokens, temperature=0.0),
}
LEARNED = Check("ten turns are put to use: right within 10", end_of(measure=held_out(name="within_10")), "fixed", least=0.3)

BUDGETS = Claim(
    "doctoragent-rl-budgets",
    mechanism="Drawing the number of turns for each case and telling it in every message",
    consequence="raises by 0.08 or more the share of diagnoses that are right within 2, 4 and 6 turns over ten turns in every dialogue",
    regime="on sixteen illnesses and twelve symptoms, from a base that imitated dialogues with and without numbers that mean nothing, at "
    "equal decoded positions",
    compare=("shown", "fixed"),
    threshold=0.08,
    refuted_if="the interval of the paired difference lies below 0.08",
    checks=(LEARNED, Check("the number is followed: turns at 10 less those at 2", turns_follow(), "shown", least=3.0)),
    pitfalls="Who was trained on ten turns alone was never late before the tenth, so much of this is arithmetic: a doctor who asks on is "
    "right within two turns never. The claim beside it, against the same numbers that nobody says, is the one about the display.",
    **RUN,
)

DISPLAY = Claim(
    "doctoragent-rl-display",
    mechanism="Telling a doctor the number of turns, where it is drawn for each case,",
    consequence="raises the share of diagnoses that are right within 2, 4 and 6 turns over the same numbers that are not told",
    regime=BUDGETS.regime,
    compare=("shown", "hidden"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: a tie says that the mix of budgets does it, and not the display",
    checks=BUDGETS.checks,
    pitfalls="Who is not told can still stop by what was answered: `python -m strop.worlds.symptoms` says what the best one reaches so, "
    "and how far the best one who is told is above that.",
    **RUN,
)
