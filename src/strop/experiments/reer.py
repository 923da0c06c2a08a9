"""REER (arXiv:2509.06160): how it could be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.methods.reer import IMITATE, LINES, SEARCH
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.recipe import Recipe
from strop.records import Group, Rollout, Task
from strop.seams.context import Ctx
from strop.seams.part import part
from strop.seams.search import GRAM, Refined
from strop.seams.world import World


@dataclass(frozen=True)
class Anothers(Refined):
    """Thinking is scored by the answer of another task."""

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        other = ctx.source.task("train", ctx.rng("another", ctx.place).randrange(1 << 30), 0)
        return await self.searched(task, str(other.needs["answer"]), ctx)


def searched(name: str, sampler: Refined) -> Program:
    search = SEARCH.but(f"search-{name}", idea=("sampler",), sampler=sampler, tasks=48)
    imitate = IMITATE.but(f"sft-{name}", idea=())
    return Program(f"reer-{name}", (Stage("search", search, steps(40)), Stage("imitate", imitate, rest())))


def found(trace: Trace) -> Iterator[tuple[Rollout, dict[str, Any]]]:
    """What was searched, with what is known of the search."""
    for groups, _ in trace.steps():
        yield from ((r, r.keys["facts"][0]) for g in groups for r in g.rollouts if r.provenance == "search")


@part(gives="number")
def edits(trace: Trace) -> float:
    """Of a text, on average."""
    return fmean(fact["edits"] for _, fact in found(trace))


@part(gives="number")
def fell(trace: Trace) -> float:
    """By how many nats a token the score fell, on average."""
    return fmean(fact["before"] - fact["after"] for _, fact in found(trace))


@part(gives="number")
def unclipped(trace: Trace) -> float:
    """Share of the answers' tokens whose log-probability counts as it is, in the end."""
    return 1 - fmean(fact["clipped"] for _, fact in found(trace))


@part(gives="number")
def unquoted(trace: Trace) -> float:
    """Share of an answer's stretches of eight characters that do not stand in its thinking."""
    shares = list[float]()
    for rollout, _ in found(trace):
        thought, _, rest_ = rollout.text.partition("</think><answer>")
        answer = rest_.removesuffix("</answer>")
        grams = {answer[i : i + GRAM] for i in range(max(len(answer) - GRAM + 1, 1))}
        shares.append(fmean(gram not in thought for gram in grams))
    return fmean(shares)


FOUND = Claim(
    "reer-search",
    mechanism="Keeping the edits of a proposed line of thinking under which the known answer is likelier",
    consequence="raises the share of right values at test time by 0.03 or more over as many edits by chance",
    regime="on stories of three derived values, with thinking of a script that slips, at equal trained positions",
    method="reer",
    recipe=Recipe(task="stories", steps=2000, lr=1e-3, checkpoint_every=1000),
    base=Recipe(method=SFT, task="stories:reading=1", tasks=64, steps=100, lr=3e-3, eval_tasks=0, checkpoint_every=100),
    arms=(
        Arm("search", searched("search", Refined(cut=LINES))),
        Arm("chance", searched("chance", Refined(cut=LINES, accept="random")), control="as many edits, by chance", random=True),
        Arm("proposed", searched("proposed", Refined(cut=LINES, most=0)), control="the first text as it was proposed"),
        Arm("best of 7", searched("best", Refined(cut=LINES, begins=7, most=0)), control="the best of as many whole texts"),
        Arm("another's", searched("anothers", Anothers(cut=LINES)), control="scored by the answer of another story"),
    ),
    compare=("search", "chance"),
    measure=held_out(name="values"),
    threshold=0.03,
    refuted_if="the interval of the paired difference lies below 0.03",
    profiles={
        "quick": Profile((0,), "250000 trained", 3, arms=("search", "chance")),
        "full": Profile((0, 1, 2, 3), "400000 trained", 9, arms=("search", "chance")),
        "extended": Profile((0, 1, 2, 3), "400000 trained", 22),
    },
    checks=(
        Check("the search edits: edits a text", edits(), "search", least=0.5),
        Check("the score falls: nats a token", fell(), "search", least=0.1),
        Check("chance edits as much: edits a text", edits(), "chance", least=0.5),
        Check("an answer's tokens can be felt: share below the floor", unclipped(), "search", least=0.5),
        Check("thinking quotes no answer: share of its stretches that it leaves out", unquoted(), "search", least=0.9),
    ),
    held_out=HeldOut(tasks=400, samples=1, temperature=0.0, at=(0.0, 1.0), max_tokens=64),
    selects=True,
    pilot=(0.1212, 0.0829, 0.1123),
    pitfalls="The proposer is a script whose faults are wrong results, which the answer tells apart; that the scorer can is what its base "
    "was taught. What is shown is that likelihood picks the lines that teach, not that plans for prose can be found so.",
)
