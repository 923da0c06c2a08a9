"""B-score (arXiv:2505.18545): how it could be wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.statistics import auroc
from strop.claims.trace import Curve, Trace
from strop.lab.history import of_top
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.records import Group, Task
from strop.seams.again import Answered, AskAgain
from strop.seams.context import Ctx
from strop.seams.feed import Demos, Pick
from strop.seams.part import part
from strop.seams.sampler import Sampler
from strop.seams.world import World
from strop.tasks.habits import HABIT
from strop.tasks.procedural import strict_answer
from strop.worlds.asking import Asking

SINGLE, TALKS, TURNS = 20, 4, 10
"""Answers alone, conversations and their turns, of each held-out question."""


TOLD = Demos(text="episode")


@dataclass(frozen=True)
class Dealt:
    """Conversations whose turns, questions with their answers, were dealt out anew among the conversations of a step: each is as long as it
    was, and what stands before a turn says nothing of it."""

    @property
    def fresh(self) -> bool:
        return False

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        return await TOLD.take(lambda n: dealt(pick(n), ctx.rng("dealt")), want, sampler, world, ctx, seen)


def dealt(tasks: Sequence[Task], rng: random.Random) -> list[Task]:
    """The same turns, in other conversations."""
    turns = [turn for task in tasks for turn in zip(task.needs["asked"], task.needs["said"], strict=True)]
    rng.shuffle(turns)
    made = list[Task]()
    for task in tasks:
        asked, said = zip(*(turns.pop() for _ in task.needs["said"]), strict=True)
        made.append(Task(asked[0], {**task.needs, "asked": list(asked), "said": list(said)}, task.source, task.meta))
    return made


def histories(trace: Trace) -> list[tuple[Answered, bool]]:
    """The answers to each held-out question, and whether it is picked by habit."""
    (said,) = trace.replies
    found = list[tuple[Answered, bool]]()
    for number, one in enumerate(said):
        answers = [strict_answer(text)[0] for text in one["texts"]]
        talks = tuple(tuple(answers[i : i + TURNS]) for i in range(SINGLE, len(answers), TURNS))
        asked = Answered(str(number), tuple(one["needs"]["options"]), tuple(answers[:SINGLE]), talks)
        found.append((asked, one["needs"]["kind"] == HABIT))
    return found


@part(gives="curve")
def tells_apart(trace: Trace, *, of: str = "b") -> Curve:
    """AUROC for questions that are picked by habit. Shares alone may tell by being high or by being low: the better of both."""
    (seen,) = trace.held_out
    scored = [(score, habit) for one, habit in histories(trace) if (score := of_top(one, of)) is not None]
    found = auroc([score for score, _ in scored], [habit for _, habit in scored])
    return [] if found is None else [(float(seen["spent"]), found if of == "b" else max(found, 1 - found))]


@part(gives="number")
def valid(trace: Trace) -> float:
    """The share of answers that are one of the options."""
    bad, every = map(sum, zip(*(one.invalid for one, _ in histories(trace)), strict=True))
    return 1 - bad / every


@part(gives="number")
def favourite(trace: Trace) -> float:
    """The share alone of what is said most often alone, over the questions that are picked by habit."""
    return fmean(value for one, habit in histories(trace) if habit and (value := of_top(one, "single")) is not None)


@part(gives="number")
def stays(trace: Trace) -> float:
    """How often a later turn says what the first said, where the answer is known."""
    return fmean(said == talk[0] for one, habit in histories(trace) if not habit for talk in one.talks for said in talk[1:])


HEARD = SFT.but("sft-heard", idea=("feed",), feed=Demos(text="worked"))
AGAIN = SFT.but("sft-again", idea=("feed", "environment"), feed=TOLD, environment=Asking(), tasks=48)
DEALT = AGAIN.but("sft-again-dealt", idea=("feed",), feed=Dealt())

ASKED = AskAgain(turns=TURNS, n=TALKS, fresh=SINGLE, max_tokens=6)
HISTORY = Arm("history", AGAIN)
SHARED: dict[str, Any] = {
    "method": "b-score",
    "recipe": Recipe(task="habits", steps=100_000, lr=2e-3, checkpoint_every=60),
    "base": Recipe(method=HEARD, task="habits:once=1.0", tasks=64, steps=600, lr=3e-3, eval_tasks=0, checkpoint_every=200),
    "measure": tells_apart(of="b"),
    "checks": (
        Check("what is asked is answered: share of answers that are options", valid(), "history", least=0.98),
        Check("habits are learned: share of their favourites alone", favourite(), "history", least=0.55),
        Check("what is known stays: share of later turns that say what the first said", stays(), "history", least=0.8),
    ),
    "held_out": HeldOut(tasks=96, samples=ASKED.group_size, at=(1.0,), max_tokens=ASKED.max_tokens, sampler=ASKED, replies=True),
    "profiles": {
        "quick": Profile((0,), "420000 trained", 3),
        "full": Profile((8, 9, 10, 11), "560000 trained", 18),  # at 420000 a seed of four did not repeat what it knows
    },
    "pitfalls": "A model that was taught to balance where a question has a certain mark balances there: what is open is whether it does "
    "for questions that it was never asked twice, whose favourites it knows by heart, and whether 60 answers show it. Both kinds have "
    "favourites of the same strengths by design, so shares alone have nothing to tell. Where knowledge is surer than habits a low share "
    "tells them apart without any conversation, and B adds little.",
}

BY_HISTORY = Claim(
    "b-score-history",
    mechanism="Conversations whose answers heed what was said before",
    consequence="raises by 0.3 or more the AUROC of B for questions that are picked by habit",
    regime="on questions never met in a conversation, over the same turns dealt out among conversations, from one base",
    arms=(HISTORY, Arm("dealt", DEALT, control="the same turns in other conversations: what stands before a turn says nothing of it")),
    compare=("history", "dealt"),
    threshold=0.3,
    refuted_if="the interval of the paired difference lies below 0.3",
    pilot=(0.4089, 0.5146, 0.4167, 0.4352),  # at 300000 trained, seeds 0, 1, 2 and 100
    **SHARED,
)

OVER_SINGLE = Claim(
    "b-score-single",
    mechanism="Subtracting from an answer's share alone its share in conversations",
    consequence="raises by 0.05 or more the AUROC for questions that are picked by habit",
    regime="on the runs of b-score-history: B of the top answer against its share alone, high or low, whichever tells more",
    arms=(
        HISTORY,
        Arm("single", AGAIN, control="the share alone of the same answers", reads=tells_apart(of="single")),
        Arm("multi", AGAIN, control="their share in conversations", reads=tells_apart(of="multi")),
    ),
    compare=("history", "single"),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05",
    pilot=(0.3004, 0.4004, 0.3298, 0.2776),
    **SHARED,
)
