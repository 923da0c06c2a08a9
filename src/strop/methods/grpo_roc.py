"""GRPO-RoC (arXiv:2508.20722): twice as many rollouts, and of the right ones those with the fewest faults.

    sample    32 rollouts a task, in a world that answers
    gate      groups of one verdict go; of the others 16 rollouts stay: right and wrong in their proportion, at least two of each,
              the wrong ones by chance, the right ones by their faults: broken calls among calls, answer tags beyond the first

A right answer after broken calls earns as much as a clean one, so the outcome alone never unlearns them. Here the reward stays the
outcome, and what is learned from is chosen. Group statistics are those of the rollouts that stay.

The paper draws right rollouts with odds of 1 over their faults, which divides by 0 for a clean one; its code takes the cleanest, and so
does this. `ResampleOnCorrect(by="weighted")` draws with odds of 1/(faults + 0.1). The code calls a call broken where its answer holds
the word "error" (`error_word`); here the world says so itself.

`rstar2` is the whole recipe: three stages of growing length, the last with a new optimiser and reference, on tasks that are not always
solved. Baselines of the paper drew half as many rollouts: the claim here charges all.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, share, steps
from strop.records import Fate, Group, Rollout, Scores
from strop.seams.context import Ctx
from strop.seams.credit import group_normalized
from strop.seams.curriculum import Band
from strop.seams.feed import Demos
from strop.seams.gate import DropFlat, Fates, Seen
from strop.seams.objective import clipped_surrogate
from strop.seams.part import nearest, part
from strop.seams.reduction import PER_TOKEN
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.world import calls
from strop.worlds.calculator import Calculator

WAYS = ("cleanest", "weighted", "chance")


@part(gives="tool_error")
async def tool_error(groups: list[Group], ctx: Ctx) -> Scores:
    """`tool_error` is the share of a rollout's calls that its world calls broken; 0.5 without a call."""
    return Scores({r.id: {"tool_error": _broken([not ok for _, ok, _ in calls(r)])} for g in groups for r in g.rollouts})


@part(gives="tool_error")
async def error_word(groups: list[Group], ctx: Ctx) -> Scores:
    """The same where a call is broken whose answer holds the word "error": what the released code looks at."""
    renderer = ctx.policies["actor"].renderer

    def words(rollout: Rollout) -> list[bool]:
        answers = [renderer.text(s.tokens) for row in rollout.rows for s in row.segments if s.kind == "observation"]
        return ["error" in answer.lower() for answer in answers]

    return Scores({r.id: {"tool_error": _broken(words(r))} for g in groups for r in g.rollouts})


def _broken(calls: list[bool]) -> float:
    return sum(calls) / len(calls) if calls else 0.5


@part(gives="tag_error")
async def tag_error(groups: list[Group], ctx: Ctx, *, tag: str = "<answer>") -> Scores:
    """`tag_error` is 1 without an answer tag, else the tags beyond the first over the turns, at most 1."""

    def faults(rollout: Rollout) -> float:
        count, turns = rollout.text.count(tag), max(len(rollout.keys.get("facts", ())), 1)
        return min(1.0, (count - 1) / turns) if count else 1.0

    return Scores({r.id: {"tag_error": faults(r)} for g in groups for r in g.rollouts})


@dataclass(frozen=True)
class ResampleOnCorrect:
    """Keep so many rollouts of a group, right and wrong in their proportion: the wrong ones by chance, the right ones by their faults."""

    keep: int = 16
    """Rollouts that stay. A group that has fewer is dropped."""
    least: int = 2
    """Of each side, where there are so many; the other one gives up places."""
    by: str = "cleanest"
    """cleanest: those with the fewest faults, ties in the order drawn. weighted: with odds of 1/(faults + offset). chance: any."""
    offset: float = 0.1
    """So that a rollout without a fault has odds too."""
    faults: tuple[str, ...] = ("tool_error", "tag_error")
    """Channels whose sum is a rollout's faults."""
    refill: int = 0
    """Rounds of sampling that may replace dropped groups."""

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise ValueError(f"ResampleOnCorrect(by={self.by!r}): {', '.join(WAYS)}. {nearest(self.by, WAYS)}")
        if self.keep < 1 or not 0 <= 2 * self.least <= self.keep or self.offset <= 0:
            raise ValueError(f"{self}: keep is at least 1, least at most half of it, and offset above 0")

    @property
    def channels(self) -> tuple[str, ...]:
        return ("outcome", *self.faults)

    @property
    def fewest(self) -> int:
        return self.keep

    def __call__(self, group: Group, seen: Seen) -> Fates:
        units = [r.id for r in group.rollouts if r.id in seen.rewards]
        if len(units) < self.keep:
            return {unit: Fate("drop", why="too few") for unit in units}
        outcome, rng = seen.channel("outcome"), seen.rng()
        right, wrong = [u for u in units if outcome.get(u) == 1], [u for u in units if outcome.get(u) != 1]
        if len(right) < self.least and len(wrong) < self.least:
            return {}
        up, down = places(len(right), len(wrong), self.keep, self.least)
        wrong_kept = rng.sample(wrong, down)
        found = [seen.channel(name) for name in self.faults]
        faults = {unit: sum(given.get(unit, 1.0) for given in found) for unit in right}  # what nobody could say counts as the worst
        if self.by == "cleanest":
            right_kept = sorted(right, key=faults.__getitem__)[:up]
        else:
            odds = {unit: 1 / (faults[unit] + self.offset) if self.by == "weighted" else 1.0 for unit in right}
            right_kept = sorted(right, key=lambda unit: rng.random() ** (1 / odds[unit]), reverse=True)[:up]  # drawn without replacement
        kept = {*right_kept, *wrong_kept}
        return {unit: Fate("drop", why="resampled") for unit in units if unit not in kept}


def places(right: int, wrong: int, keep: int, least: int) -> tuple[int, int]:
    """How many right and wrong ones stay: in proportion, halves to the even number, at least so many of each where they are there.

    >>> places(7, 25, 16, 2), places(1, 31, 16, 2), places(30, 2, 16, 2)
    ((4, 12), (1, 15), (14, 2))
    """
    up = round(Fraction(right * keep, right + wrong))
    up = max(up, min(least, right))
    up = min(up, keep - min(least, wrong))
    return up, keep - up


GRPO_ROC = GRPO.but(
    "grpo-roc",
    paper="2508.20722",
    idea=("graders", "gate"),
    sampler=Independent(n=32, max_tokens=32, turns=3, observation=24),
    environment=Calculator(),
    graders=(tool_error(), tag_error()),
    gate=(DropFlat(of="outcome"), ResampleOnCorrect()),
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=PER_TOKEN)},
    tasks=8,
)

TAUGHT = SFT.but("sft-episodes", idea=("feed",), feed=Demos(text="episode"), environment=Calculator())
LONGER = GRPO_ROC.but("grpo-roc-longer", sampler=Independent(n=32, max_tokens=48, turns=3, observation=24))
HARD = LONGER.but(
    "grpo-roc-hard",
    sampler=Independent(n=32, max_tokens=48, turns=4, observation=24),
    curriculum=Band(low=0.0, high=0.999),
)

RSTAR2 = Program(
    "rstar2",
    (
        Stage("imitate", TAUGHT, steps(80), task="sums", pace=10.0),
        Stage("short", GRPO_ROC, share(0.6), task="sums"),
        Stage("long", LONGER, share(0.15), task="sums", keeps=("optimiser", "curriculum")),
        Stage("hard", HARD, rest(), task="sums"),
    ),
    paper="2508.20722",
)
