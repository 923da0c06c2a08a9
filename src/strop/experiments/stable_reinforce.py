"""StableReinforce (arXiv:2505.02835): how it could be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace, end_of, mean_so_far
from strop.methods.stable_reinforce import STABLE_REINFORCE, drop_outliers, raw_window
from strop.recipe import Recipe
from strop.records import Fate, Group, Scores
from strop.seams.credit import batch_whiten, returns_to_go
from strop.seams.part import Part, part

RIGHT = 0.8


@cache
def judged() -> Any:
    from strop.lab.tabular import Table
    from strop.seams.source import Graded

    @dataclass(frozen=True)
    class Judged(Table):
        """Every reply keeps the form and has reasons that agree with it: right ones earn 2, wrong ones 0.5."""

        def grade(self, task: Any, text: str) -> Graded:
            return Graded({**super().grade(task, text), "format": 1.0, "consistent": 1.0})

    return Judged(tasks=1, vocab=6, length=1, share=0.2)


def still(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """One question with a right word out of five, which the policy gives four times in five."""
    from strop.lab.tabular import TabularPolicy, engine

    policy = TabularPolicy(1, judged().language, spread=0.0)
    right = [n for n, reward in enumerate(judged().reward_SN[0].tolist()) if reward]
    with torch.no_grad():
        policy.logits.fill_(torch.tensor((1 - RIGHT) / 5).log())
        policy.logits[0, 0, judged().language.tokens(right[0])[0]] = torch.tensor(RIGHT).log()
    return {"policy": policy, "source": judged(), "engine": engine}


def credits_of(record: dict[str, Any], credit: tuple[Part, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and credits of the rollouts of a step, by these links."""
    from strop.batch import pack
    from strop.learning import settle

    groups = [Group.from_json(g) for g in record["groups"]]
    fates = {unit: Fate(*fate) for unit, fate in record["fates"].items()}
    batch = pack(groups, fates, record["rewards"], record["version"], Scores.from_json(record["scores"]))
    batch = settle(STABLE_REINFORCE.but(credit=credit), batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    return batch.facts["reward_R"], batch.index.mean(batch.tracks["credit_T"], "token", "rollout")


@part(gives="curve")
def negatives_left(trace: Trace, *, credit: tuple[Part, ...]) -> Curve:
    """Of the rollouts that earned less than the mean, the share that these links leave a credit, all steps so far."""
    left, curve = list[bool](), Curve()
    for spent, record in zip(trace.spent, trace.records(), strict=True):
        reward_R, credit_R = credits_of(record, credit)
        left += (credit_R[reward_R < reward_R.mean()] != 0).tolist()
        curve.append((float(spent), sum(left) / max(len(left), 1)))
    return curve


@part(gives="number")
def wrong(trace: Trace) -> float:
    """Share of wrong replies over the run."""
    return 1 - sum(line["outcome"] for line in trace.lines) / len(trace.lines)


def left(rule: str, wrong: int, size: int) -> bool:
    """Does this rule leave wrong rollouts an advantage, of so many under one mean of so many?"""
    earned_T = torch.tensor([0.5] * wrong + [2.0] * (size - wrong), dtype=torch.float64)
    everyone = torch.ones(size, dtype=torch.bool)
    if rule == "released window":
        return bool(raw_window(earned_T, everyone)[0] != 0)
    return bool(drop_outliers(batch_whiten(earned_T, everyone, std_floor=1e-4))[0] != 0)


def kept() -> str:
    """Which rule leaves wrong rollouts of a batch of 1,000 an advantage, by accuracy; and a lone wrong one of a small group."""
    rules = ("three deviations", "released window")
    rates, sizes = (0.5, 0.65, 0.68, 0.69, 0.8, 0.89, 0.91, 0.95, 0.99, 0.999), (4, 8, 10, 11, 16, 64)
    cases = [(f"{rate:.1%} of 1,000 right", round(1000 * (1 - rate)), 1000) for rate in rates]
    cases += [(f"all but one of {size}", 1, size) for size in sizes]
    rows = [[said, *("kept" if left(rule, wrong, size) else "left out" for rule in rules)] for said, wrong, size in cases]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["a wrong rollout's advantage", *rules], ["---"] * 3, *rows])


WHITENED = (returns_to_go(), batch_whiten(std_floor=1e-4))
WINDOW = Claim(
    "stable-reinforce-window",
    mechanism="Leaving out advantages beyond three deviations, instead of those outside of the released window,",
    consequence="keeps nine tenths or more of all negative advantages that the released window drops",
    regime="in batches of 256 at 80 % accuracy, with rewards of 2 and 0.5 and weights that stand still",
    method=STABLE_REINFORCE.name,
    recipe=Recipe(task="table", model="table", tasks=256, group=1, max_tokens=1, steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("symmetric", STABLE_REINFORCE, reads=negatives_left(credit=(*WHITENED, drop_outliers()))),
        Arm(
            "released",
            STABLE_REINFORCE,
            control="the released code's window: the raw mean plus and minus 3",
            reads=negatives_left(credit=(returns_to_go(), raw_window())),
        ),
        Arm("none", STABLE_REINFORCE, control="nothing is left out", reads=negatives_left(credit=WHITENED)),
    ),
    compare=("symmetric", "released"),
    measure=negatives_left(credit=WHITENED),
    threshold=0.9,
    refuted_if="the interval of the paired difference lies below 0.9",
    profiles={"quick": Profile((0, 1), "1000 decoded", 1), "full": Profile((0, 1, 2, 3), "5000 decoded", 1)},
    checks=(
        Check("there is something to leave out: wrong replies", wrong(), "symmetric", least=0.1),
        Check("accuracy lies where the two differ, above 0.69", end_of(measure=mean_so_far(name="outcome")), "symmetric", least=0.7),
    ),
    random=False,
    world=still,
)
