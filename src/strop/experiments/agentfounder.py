"""AgentFounder (arXiv:2509.13310): how it could be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.methods.agentfounder import FIRST_STEPS, IMITATE, ONE, TASK
from strop.program import Program, Stage, rest, share
from strop.recipe import Recipe
from strop.records import Group, canonical
from strop.seams.context import Renderer
from strop.seams.part import Part, part
from strop.seams.texts import Retold, asked_of, episodes_of, first_steps, planned, told, transcripts


@part(gives="demos")
def permuted_steps(groups: Sequence[Group], rng: Random, renderer: Renderer, *, k: int = 1) -> list[Group]:
    """First steps, each behind another episode's question: the same tokens, and nothing to learn of which belongs to which."""
    episodes = [*episodes_of(groups)]
    order = rng.sample(range(len(episodes)), len(episodes))
    behind = dict(zip(order, chain(order[1:], order[:1]), strict=True))
    said = [planned(rollout, renderer, k) for _, rollout in episodes]
    return [
        told(group, rollout, "first", asked_of(rollout) + renderer.reply(said[behind[number]]), said[behind[number]])
        for number, (group, rollout) in enumerate(episodes)
    ]


def tasks_in(trace: Trace, texts: bool) -> Iterator[str]:
    """The graphs of the tasks that its texts are of, or those that it imitates on."""
    for record in trace.records():
        for group in record["groups"]:
            if texts == (group["rollouts"][0]["provenance"] != "gold"):
                yield canonical(group["task"]["needs"]["cards"])


@part(gives="number")
def apart(trace: Trace) -> float:
    """Share of the graphs imitated on and of the held-out ones that stand in no text."""
    read = {*tasks_in(trace, texts=True)}
    others = [*{*tasks_in(trace, texts=False)}, *(canonical(one["needs"]["cards"]) for one in trace.replies[-1])]
    return sum(graph not in read for graph in others) / len(others)


@part(gives="number")
def read_of(trace: Trace) -> float:
    """How many texts were read."""
    return float(sum(1 for _ in tasks_in(trace, texts=True)))


@part(gives="number")
def imitated(trace: Trace) -> float:
    """How many episodes were imitated."""
    return float(sum(1 for _ in tasks_in(trace, texts=False)))


@part(gives="number")
def room(trace: Trace) -> float:
    """Share of held-out questions that are not answered in the end."""
    return 1 - float(trace.held_out[-1]["means"]["pass@1"])


READ = 0.75
"""Share of the budget that is read before anything is imitated."""


def arm(name: str, make: Part, control: str = "", pace: float = 1.0) -> Arm:
    read = FIRST_STEPS.but(f"read-{name}", idea=("feed",), feed=Retold(make))
    stages = (Stage("read", read, share(READ), pace=pace), Stage("imitate", IMITATE, rest()))
    return Arm(name, Program(f"agentfounder-{name}", stages, paper="2509.13310"), control=control)


FIRST = Claim(
    "agentfounder-first-steps",
    mechanism="Reading questions with a plan and the first call that answers them, no tool called, before imitating a few episodes",
    consequence="raises success by 0.08 or more over reading the same plans and calls behind each other's questions",
    regime="on chains of two to four cards of twelve letters, at equal tokens and after the same imitation of 320 episodes",
    method="agentfounder",
    recipe=Recipe(task=TASK, steps=5000, lr=3e-3, checkpoint_every=5000),
    arms=(
        arm("planned", first_steps()),
        arm("permuted", permuted_steps(), "the same texts, each plan and call behind another question"),
        arm("unread", first_steps(), "the same texts at a rate of nothing: what imitation alone gives", pace=1e-9),
        arm("executed", transcripts(), "whole episodes of as many tokens as texts, with what was answered: what could be had by calling"),
        Arm(
            "again",
            Program("agentfounder-again", (Stage("imitate", IMITATE, rest()),), paper="2509.13310"),
            control="all tokens are those of the few episodes, again and again",
        ),
    ),
    compare=("planned", "permuted"),
    measure=held_out(name="pass@1"),
    threshold=0.08,
    refuted_if="the interval of the paired difference lies below 0.08",
    profiles={
        "quick": Profile((0,), "180000 trained", 3, arms=("planned", "permuted")),
        "full": Profile((0, 1, 2, 3), "360000 trained", 10, arms=("planned", "permuted", "unread")),
        "extended": Profile((0, 1, 2, 3), "360000 trained", 18),
    },
    checks=(
        Check("without any text there is room: share not answered", room(), "unread", least=0.15),
        Check("texts are read: how many", read_of(), "planned", least=1000.0),
        Check("the same is imitated: episodes", imitated(), "permuted", least=320.0),
        Check("no graph of a text is imitated on or held out: share", apart(), "planned", least=1.0),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(1.0,), max_tokens=ONE.max_tokens, temperature=0.0, replies=True),
    pilot=(0.12, -0.08, 0.11),
    pitfalls="What the texts teach here is to call for a letter that stands in the question, which is half of what a chain takes. "
    "How far plans for the web carry over to acting there is not said by it. Whether imitation finds out by itself how to copy a letter "
    "differs between seeds more than between texts, and as many tokens of the few episodes alone solve every question.",
)
