"""Coverage (arXiv:2505.20278): how it could be wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.fragments import largest, numbered
from strop.lab.coverage import auroc
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest
from strop.recipe import Recipe
from strop.seams.part import part
from strop.tasks import source
from strop.tasks.twohop import TwoHop

TAUGHT = SFT.but(
    "sft-twohop",
    idea=("update",),
    update=replace(SFT.update, weight_decay=0.3, minibatch=100),
    tasks=1000,
)
"""A pass over the training set a step."""
NONTREE = Program("sft-nontree", (Stage("train", TAUGHT, rest(), task="nontree:train=1000"),))
REPLY = 4
"""Tokens that are taught of a task: the answer between its tags, and the end."""


def own_tables(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """Each seed has tables of its own, and so its own training set and questions."""
    program = recipe.program
    asked = source(recipe.task_name() if program is None else program.plan[0].task)
    assert isinstance(asked, TwoHop)
    return {"source": replace(asked, tables=recipe.seed)}


@lru_cache(maxsize=16)
def shown(directory: Path) -> dict[str, dict[str, str]]:
    """What a run was trained on, by question: read up to the first step that brings nothing new."""
    from strop.directory import read_commit, recorded_steps

    found = dict[str, dict[str, str]]()
    for step in range(recorded_steps(directory)):
        before, record = len(found), read_commit(directory, step)
        found |= {group["task"]["needs"]["asked"]: group["task"]["needs"] for group in (record or {"groups": []})["groups"]}
        if len(found) == before:
            break
    return found


@lru_cache(maxsize=16)
def reached(directory: Path, asked: tuple[str, ...]) -> list[int]:
    """The largest k at which each question is covered by what a run was trained on."""
    seen, wanted, _, _ = numbered([(x, needs["answer"]) for x, needs in shown(directory).items()], [(x, "") for x in asked])
    return largest(seen, wanted).tolist()


def counts(directory: Path, needs: list[dict[str, str]]) -> list[tuple[int, int]]:
    """How often training showed each question's first entry (its two places), and its second (its bridge with the third place)."""
    said = shown(directory)
    first, second = Counter(x[:2] for x in said), Counter((one["bridge"], x[2]) for x, one in said.items())
    return [(first[one["asked"][:2]], second[one["bridge"], one["asked"][2]]) for one in needs]


JOINED = {
    "first": lambda a, b: a,
    "second": lambda a, b: b,
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "least": min,
}
"""Ways to make one number of two counts."""


@part(gives="curve")
def ranked(trace: Trace, *, by: str = "k") -> Curve:
    """How often a held-out question that is answered rightly ranks above one that is not, at each evaluation where there are both: by `k`;
    by `counts`, whichever way to join the two of them does best there; or by `shuffled`, the k of another question with the same counts."""
    directory, found = trace.places[-1], Curve()
    for said, kept, values in zip(trace.held_out, trace.replies, trace.values, strict=True):
        needs, right = [one["needs"] for one in kept], [value == 1 for value in values["values"]["pass@1"]]
        if len({*right}) < 2:
            continue
        times = counts(directory, needs)
        if by == "counts":
            value = max(auroc([join(*pair) for pair in times], right) for join in JOINED.values())
        else:
            k = reached(directory, tuple(one["asked"] for one in needs))
            value = auroc(shuffled(k, times, trace.seed) if by == "shuffled" else k, right)
        found.append((float(said["spent"]), value))
    return found


def shuffled(k: list[int], times: list[tuple[int, int]], seed: int) -> list[int]:
    """Each k given to another question with the same counts."""
    rng, same = random.Random(seed), dict[tuple[int, int], list[int]]()
    for number, pair in enumerate(times):
        same.setdefault(pair, []).append(number)
    made = list(k)
    for members in same.values():
        drawn = rng.sample(members, len(members))
        for member, other in zip(members, drawn, strict=True):
            made[member] = k[other]
    return made


@part(gives="number")
def memorised(trace: Trace) -> float:
    """The share of the training set whose whole reply the last checkpoint finds likeliest, token by token."""
    from strop.policies.causal import load

    policy = load(str(trace.checkpoints[max(trace.checkpoints)]))
    said = shown(trace.places[-1])
    prompts = [policy.renderer.prompt(question) for question in said]
    replies = torch.tensor([policy.renderer.reply(f"<answer>{needs['answer']}</answer>") for needs in said.values()])
    with torch.no_grad():
        logits_NTV = policy.model(input_ids=torch.cat([torch.tensor(prompts), replies[:, :-1]], 1)).logits
    found = logits_NTV[:, -replies.shape[1] :].argmax(-1)
    return float((found == replies).all(1).double().mean())


@part(gives="number")
def undecided(trace: Trace) -> float:
    """How far held-out accuracy is from 0 and from 1, whichever is nearer, at the end."""
    right = trace.held_out[-1]["means"]["pass@1"]
    return min(right, 1 - right)


PREDICTS = Claim(
    "coverage-predicts",
    mechanism="The largest k at which a held-out question is covered, known before training,",
    consequence="raises the AUROC for its being answered rightly by 0.05 over that of the counts of its two table entries",
    regime="on two random tables over 16 tokens, 1,000 examples, in the middle of learning, a network that knew nothing",
    method="coverage",
    recipe=Recipe(model="seedling:layers=2,hidden=64", task="twohop:train=1000", steps=100_000, lr=2e-3, checkpoint_every=100_000),
    arms=(
        Arm("coverage", TAUGHT),
        Arm("counts", TAUGHT, control="how often training showed its two table entries, joined in the best way", reads=ranked(by="counts")),
        Arm("shuffled", TAUGHT, control="the k of another question with the same counts", reads=ranked(by="shuffled")),
        Arm("nontree", NONTREE, control="the second place acts twice: no two first places are one but before one second"),
    ),
    compare=("coverage", "counts"),
    measure=ranked(),
    threshold=0.05,
    pilot=(-0.0505, -0.0557, -0.0536),
    refuted_if="the interval of the paired difference lies below 0.05",
    world=own_tables,
    profiles={
        "quick": Profile((0,), "2000000 trained", 2, arms=("coverage", "counts", "shuffled")),
        "full": Profile((0, 1, 2, 3), "2000000 trained", 6, arms=("coverage", "counts", "shuffled")),
        "extended": Profile((0, 1, 2, 3), "2000000 trained", 12),
    },
    checks=(
        Check("the training set is learned by heart: at least this share of it", memorised(), "coverage", least=0.99),
        Check("neither all nor none of the held-out questions are right", undecided(), "coverage", least=0.1),
    ),
    held_out=HeldOut(tasks=3000, samples=1, at=(0.25, 0.5, 0.75, 1.0), max_tokens=REPLY, temperature=0.0, replies=True),
    pitfalls="What is seen often is both better covered and better learned; the counts are joined in whichever of five ways does best on "
    "the very run that they are read from, which favours them. k has a handful of values, so many pairs tie.",
)
