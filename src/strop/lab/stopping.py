"""Stopping: tables where what is right and how long a reply gets are decided apart, and what an update does to the expected length.

    answers, then stops         a c c .     right (a) or wrong (b); then turns (c) that change nothing, each with the same chance
    chooses a length first      c c a .     whether it takes a turn (c) or none (a); then right or wrong

A mean over each rollout's own tokens shortens the first kind where more than half is right; a sum does not. It leaves the second as long as
it is, and the first too where the policy cannot tell a right answer from a wrong one when it decides to stop: then one decision stands
behind both, and what pulls at it behind the one pushes behind the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strop.lab.bias import expect
from strop.lab.tabular import Table, TabularPolicy
from strop.lab.world import Language, World
from strop.method import Method

END, RIGHT, WRONG, MORE = range(4)
NEVER = -40.0
"""The logit of what is not written: a chance of 4e-18."""


def language(length: int) -> Language:
    return Language(MORE + 1, length)


def stops_after(right: float, stop: float, length: int = 3) -> World:
    """It answers, rightly with the chance `right`, and stops with the chance `stop` behind the answer and each turn."""
    words = language(length)
    return World.of(words, [float(words.tokens(n)[0] == RIGHT) for n in range(words.count)], answering(words, right, stop))


def answering(words: Language, right: float, stop: float) -> Tensor:
    """The logits [P, V] of `stops_after`."""
    logits_PV = torch.full((words.prefixes, words.vocab), NEVER, dtype=torch.float64)
    logits_PV[0, RIGHT], logits_PV[0, WRONG] = math.log(right), math.log(1 - right)
    logits_PV[1:, END], logits_PV[1:, MORE] = math.log(stop), math.log(1 - stop)
    return logits_PV


def chooses_first(right: float, stop: float) -> World:
    """It takes no turn with the chance `stop`, says so, and answers rightly with the chance `right`."""
    words = language(4)
    short, long = words.number((RIGHT,)), words.number((MORE, MORE))
    logits_PV = torch.full((words.prefixes, words.vocab), NEVER, dtype=torch.float64)
    logits_PV[:, END] = 0.0
    logits_PV[[0, words.number((MORE,))], END] = NEVER
    logits_PV[0, RIGHT], logits_PV[0, MORE] = math.log(stop), math.log(1 - stop)
    logits_PV[words.number((MORE,)), MORE] = 0.0
    logits_PV[[short, long]] = NEVER
    logits_PV[[short, long], RIGHT], logits_PV[[short, long], WRONG] = math.log(right), math.log(1 - right)
    answers = [[word for word in words.tokens(n) if word][-1:] for n in range(words.count)]
    return World.of(words, [float(answer == [RIGHT]) for answer in answers], logits_PV)


def length_slope(method: Method, world: World, *, group: int = 2, tells: bool = True) -> float:
    """How fast the expected length moves along the method's expected first update, over all groups of so many rollouts. Where the policy
    does not tell right from wrong, the logits behind a wrong answer are those behind a right one."""
    longer_PV = world.uphill(lambda logp_N: (logp_N.exp() * world.language.length_N).sum())
    up_PV = expect(method, world, group=group).mean_PV
    if not tells:
        up_PV, longer_PV = (_as_one(world.language, x_PV) for x_PV in (up_PV, longer_PV))
    return float((up_PV * longer_PV).sum())


def _as_one(words: Language, x_PV: Tensor) -> Tensor:
    """Slopes in logits that are shared: summed over prefixes that differ in right or wrong alone."""
    said = ([word for word in words.tokens(n) if word] for n in range(words.prefixes))
    home_P = torch.tensor([words.number([RIGHT if word == WRONG else word for word in text]) for text in said])
    return torch.zeros_like(x_PV).index_add(0, home_P, x_PV)


@dataclass(frozen=True)
class Repeats(Table):
    """Tasks whose replies are right where they begin with the right answer, whatever turns follow. `share` is not felt."""

    vocab: int = MORE + 1
    length: int = 4

    def _right(self, index: int) -> list[int]:
        return [n for n in range(self.language.count) if self.language.tokens(n)[0] == RIGHT]

    def policy(self, rights: Sequence[float], stop: float) -> TabularPolicy:
        """One that answers each task rightly with a chance of its own, and then stops alike."""
        made = TabularPolicy(self.tasks, self.language, spread=0.0)
        with torch.no_grad():
            made.logits.copy_(torch.stack([answering(self.language, right, stop) for right in rights]))
        return made


def expected_lengths(words: Language, logits_SPV: Tensor) -> Tensor:
    """Of each task's replies, their end counted, by enumeration."""
    return torch.stack([(words.logp_N(logits_PV).exp() * words.length_N).sum() for logits_PV in logits_SPV])
