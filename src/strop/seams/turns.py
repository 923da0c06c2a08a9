"""Turns: a reply that thinks and answers, and thinks and answers again; its last answer counts, and a caller may stop at any.

    <think>3+8=1\\n1*2=2</think><answer>2</answer><think>…</think><answer>4</answer>

`turns` reads one, `turn_count` and `each_turn` mark one. `turns_of` makes demonstrations of them from right replies that think only once:
a segmenter cuts what was thought into units, and behind each but the last a policy states the answer it has so far. Where a model is
evaluated, its replies can be stopped early: `EarlyExit` in `strop.seams.mode`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from strop.records import Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle, keyed
from strop.seams.mark import Stretch
from strop.seams.part import Part, part
from strop.seams.recorded import given, right_ones

THINK, THOUGHT, ANSWER, ANSWERED = TAGS = ("<think>", "</think>", "<answer>", "</answer>")
TAG = re.compile("(" + "|".join(TAGS) + ")")
GREEDY = Sampling(temperature=0)


class Turn(NamedTuple):
    """What stands between its tags."""

    thought: str
    answer: str


def turns(text: str) -> list[Turn] | None:
    """The turns of a reply; None where thoughts and answers do not alternate, or something stands between them.

    >>> turns("<think>2+2=5</think><answer>5</answer><think>no</think><answer>4</answer>")
    [Turn(thought='2+2=5', answer='5'), Turn(thought='no', answer='4')]
    """
    before, *cut = TAG.split(text)
    tags, said = cut[::2], cut[1::2]
    between = (before, *said[1::2])
    if not tags or tags != [*TAGS] * (len(tags) // 4) or any(each.strip() for each in between):
        return None
    return [Turn(thought, answer) for thought, answer in zip(said[::4], said[2::4], strict=True)]


def written(said: Sequence[Turn]) -> str:
    """The reply that holds these turns."""
    return "".join(f"{THINK}{turn.thought}{THOUGHT}{ANSWER}{turn.answer}{ANSWERED}" for turn in said)


# Marks.


@part(gives="turns_R")
def turn_count(text: str) -> int | None:
    """How many turns a reply has; None where it is not made of turns."""
    found = turns(text)
    return None if found is None else len(found)


@part(gives="turn_T")
def each_turn(text: str) -> list[Stretch]:
    """Each turn of a reply, from where it begins to think to the end of its answer; none of a reply that is not made of turns."""
    if turns(text) is None:
        return []
    ends = [found.end() for found in re.finditer(ANSWERED, text)]
    return list(zip((0, *ends[:-1]), ends, strict=True))


# Segmenters: what was thought -> units, in its order.


@part(gives="units")
def by_markers(thought: str, *, markers: tuple[str, ...] = ("Wait", "Alternatively", "\n\n")) -> list[str]:
    """Cut before each marker; blanks at the ends of a unit are not of it.

    >>> by_markers("2+2=5. Wait, 2+2=4. Wait: yes.")
    ['2+2=5.', 'Wait, 2+2=4.', 'Wait: yes.']
    """
    if not markers or "" in markers:
        raise ValueError(f"by_markers(markers={markers!r}): name what a new attempt begins with")
    words = "|".join(re.escape(marker) for marker in markers)
    return [unit for piece in re.split(f"(?={words})", thought) if (unit := piece.strip())]


CUT = """Below, between marks with the word {fence}, stands what somebody thought before answering a question. It makes one attempt at the
answer after the other. Repeat it word for word, and put a line {cut} between one attempt and the next. Write nothing else.

<thought {fence}>
{thought}
</thought {fence}>"""


@part(gives="units")
async def by_asking(thought: str, ctx: Ctx, *, policy: str = "segmenter", cut: str = "=====", max_tokens: int = 4096) -> list[str]:
    """Cut by another policy, which repeats the thought with a line between two units: an endpoint, `Asked("remote:…")`."""
    asked = ctx.policies[policy]
    question = CUT.format(thought=thought, fence=f"{keyed('fence', thought).getrandbits(32):08x}", cut=cut)
    async with asked.engine.admit(Footprint(len(question.encode()) + max_tokens, 1)):
        node = await asked.generate(await asked.open(question, root=ctx.place), max=max_tokens, sampling=GREEDY, keep=False)
    pieces = re.split(f"^{re.escape(cut)}$", asked.text(node), flags=re.MULTILINE)
    return [unit for piece in pieces if (unit := piece.strip())]


# Demonstrations.


@part(gives="demos")
async def turns_of(
    groups: Sequence[Group],
    scores: Scores,
    rng: Random,
    ctx: Ctx,
    *,
    segmenter: Part = by_markers(),
    answers: str = "writer",
    most: int = 16,
) -> list[Group]:
    """Right replies that think once, as turns: a turn a unit, with the answer that the policy `answers` states where the thought ends
    behind it, greedily and in `most` tokens; the last answer is the reply's own. Nothing is left out, so replies get longer. A reply that
    is no such reply makes none, nor one whose units are not its thought, nor one where the policy states no answer. The policy is one
    that does not move, `Asked("initial")`, so that a stage that is resumed makes the same."""
    right = [(group, said[0]) for group in right_ones(groups, scores, rng) if len(said := turns(group.rollouts[0].text) or []) == 1]
    made = await asyncio.gather(*(_in_turns(group, said, segmenter, answers, most, ctx.at(f"{group.id}/turns")) for group, said in right))
    return [group for group in made if group is not None]


async def _in_turns(group: Group, whole: Turn, segmenter: Part, answers: str, most: int, ctx: Ctx) -> Group | None:
    """None where something is missing."""
    (rollout,), (thought, last) = group.rollouts, whole
    units: list[str] = await given(segmenter.on({"thought": thought, "ctx": ctx}))
    ends = places(units, thought)
    if not ends:
        return None
    asked, openings = ctx.policies[answers], [f"{THINK}{thought[:end]}{THOUGHT}{ANSWER}" for end in ends[:-1]]
    stated = [await _stated(asked, group.task, opening, most, f"{ctx.place}/{i}") for i, opening in enumerate(openings)]
    if None in stated:
        return None
    text = written([Turn(unit, answer or "") for unit, answer in zip(units, (*stated, last), strict=True)])
    renderer = ctx.policies["actor"].renderer
    prompt, said = Segment("prompt", renderer.prompt(group.task.prompt), "0"), Segment("teacher", renderer.reply(text), "0.0")
    taught = Rollout((Row.of(prompt, said),), f"{ctx.place}/0", provenance=rollout.provenance, text=text)
    return Group(group.task, (taught,), role="demo", id=ctx.place)


def places(units: Sequence[str], thought: str) -> list[int]:
    """Where each unit ends in a thought; none where they are not the thought, one after the other with blanks between."""
    at, ends = 0, list[int]()
    for unit in units:
        start = thought.find(unit, at)
        if start < 0 or thought[at:start].strip() or not unit.strip():
            return []
        at = start + len(unit)
        ends.append(at)
    return [] if thought[at:].strip() else ends


async def _stated(asked: Handle, task: Task, opening: str, most: int, place: str) -> str | None:
    """The answer that a policy gives behind these words."""
    async with asked.engine.admit(Footprint(len(task.prompt.encode()) + len(opening.encode()) + most, 1)):
        node = await asked.force(await asked.open(task.prompt, root=place), opening)
        said = asked.text(await asked.generate(node, max=most, stop=(ANSWERED,), sampling=GREEDY, keep=False))
    answer, closed, _ = said.partition(ANSWERED)
    return answer if closed and answer.strip() and not TAG.search(answer) else None
