"""A world small enough to count: every sequence of at most `length` tokens, a reward for each, a table that writes them.

Token 0 ends a sequence; the others are words. Strings of words are numbered like a heap: the empty one is 0, and p with the
word w behind it is `p * words + w`. A string shorter than `length` is a *prefix*: a decision is made there. A sequence has
the number of its words: prefix p where it ended there, a leaf where it was cut at `length`. An *edge* is one
decision, `prefix * vocab + token`.

Axes: N sequences, P prefixes, V tokens, D = P * V edges, K all decisions of all sequences, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from strop.seams.context import keyed

MOST = 10_000
"""Sequences that are still enumerated."""


@dataclass(frozen=True)
class Language:
    """All sequences over `vocab` tokens, the end token among them, of at most `length` decisions."""

    vocab: int
    length: int

    def __post_init__(self) -> None:
        if self.vocab < 2 or self.length < 1:
            raise ValueError(f"vocab={self.vocab}, length={self.length}: needs at least 2 tokens (one ends the text) and length 1")
        if self.length > MOST or self.count > MOST:
            raise ValueError(
                f"vocab={self.vocab} and length={self.length} make more than {MOST} sequences, which is more than is enumerated. "
                "Lower one of them."
            )

    @property
    def words(self) -> int:
        return self.vocab - 1

    @property
    def prefixes(self) -> int:
        return sum(self.words**k for k in range(self.length))

    @property
    def count(self) -> int:
        """How many sequences there are: one ends at each prefix, one is cut at each leaf."""
        return sum(self.words**k for k in range(self.length + 1))

    def tokens(self, number: int) -> tuple[int, ...]:
        """What is written, the end token included.

        >>> [Language(2, 2).tokens(n) for n in range(3)]
        [(0,), (1, 0), (1, 1)]
        """
        words: list[int] = []
        at = number
        while at:
            at, word = divmod(at - 1, self.words)
            words.append(word + 1)
        return (*reversed(words), *(() if len(words) == self.length else (0,)))

    def number(self, tokens: Sequence[int]) -> int:
        """Of the sequence that these tokens write, with or without the token that ends it."""
        at = 0
        for token in tokens:
            if token:
                at = at * self.words + token
        return at

    def edges(self, tokens: Sequence[int]) -> list[int]:
        """The decisions of one sequence."""
        at, made = 0, list[int]()
        for token in tokens:
            made.append(at * self.vocab + token)
            at = at * self.words + token
        return made

    @cached_property
    def all_edges(self) -> list[list[int]]:
        return [self.edges(self.tokens(n)) for n in range(self.count)]

    @cached_property
    def length_N(self) -> Tensor:
        return torch.tensor([len(edges) for edges in self.all_edges])

    @cached_property
    def start_N(self) -> Tensor:
        """Where each sequence's decisions begin in K."""
        return torch.cumsum(self.length_N, 0) - self.length_N

    @cached_property
    def edge_K(self) -> Tensor:
        return torch.tensor([edge for edges in self.all_edges for edge in edges])

    @cached_property
    def cut_N(self) -> Tensor:
        """Cut at the largest length, rather than ended."""
        return torch.arange(self.count) >= self.prefixes

    def logp_N(self, logits_PV: Tensor) -> Tensor:
        """Log-probability of every sequence; differentiable."""
        sequence_K = torch.repeat_interleave(torch.arange(self.count), self.length_N)
        logp_D = logits_PV.log_softmax(-1).reshape(-1)
        return logp_D.new_zeros(self.count).index_add(0, sequence_K, logp_D[self.edge_K])


@dataclass(frozen=True, eq=False)
class World:
    """One task: its sequences, what each earns, and three tables of logits.

    Rollouts were drawn from `drawn`, which is `old` where the engine computes as the learner does; `now` is the policy whose gradient is
    asked for; `reference` is a frozen one. At the first update of a batch `now` is `old`.
    """

    language: Language
    reward_N: Tensor
    old_PV: Tensor
    now_PV: Tensor
    reference_PV: Tensor
    drawn_PV: Tensor | None = None

    @staticmethod
    def of(language: Language, reward: Sequence[float], logits_PV: Tensor, reference_PV: Tensor | None = None) -> World:
        if len(reward) != language.count or logits_PV.shape != (language.prefixes, language.vocab):
            raise ValueError(
                f"{language} has {language.count} sequences and logits of shape {(language.prefixes, language.vocab)}; "
                f"got {len(reward)} rewards and {tuple(logits_PV.shape)}"
            )
        logits_PV = logits_PV.double()
        frozen_PV = torch.zeros_like(logits_PV) if reference_PV is None else reference_PV.double()
        return World(language, torch.tensor(list(reward), dtype=torch.float64), logits_PV, logits_PV, frozen_PV)

    @staticmethod
    def random(vocab: int, length: int, seed: int = 0, grades: tuple[float, ...] = (0.0, 0.5, 1.0)) -> World:
        """Every sequence earns one of the grades, each grade equally often; logits are normal, the reference's half a step away."""
        language, rng = Language(vocab, length), keyed("world", vocab, length, seed)
        reward = [grades[n % len(grades)] for n in range(language.count)]
        rng.shuffle(reward)

        def normal_PV() -> Tensor:
            drawn = [rng.gauss(0, 1) for _ in range(language.prefixes * vocab)]
            return torch.tensor(drawn, dtype=torch.float64).view(language.prefixes, vocab)

        logits_PV = normal_PV()
        return World.of(language, reward, logits_PV, logits_PV + 0.5 * normal_PV())

    @property
    def chance_N(self) -> Tensor:
        """How likely each sequence is to be drawn."""
        return self.language.logp_N(self.sampler_PV).exp()

    @property
    def sampler_PV(self) -> Tensor:
        return self.old_PV if self.drawn_PV is None else self.drawn_PV

    def quantized(self, quantum: float) -> World:
        """The same learner, and an engine whose logits are multiples of `quantum`: in bfloat16 that is 1/8 for logits between 16 and 32."""
        return replace(self, drawn_PV=(self.old_PV / quantum).round() * quantum)

    def moved(self, step: float) -> World:
        """The same rollouts, seen from a policy that has gone `step` (in logits, Euclidean) up the expected reward."""
        up_PV = self.uphill(lambda logp_N: (logp_N.exp() * self.reward_N).sum())
        return replace(self, now_PV=self.now_PV + step * up_PV / norm(up_PV))

    def uphill(self, value: Callable[[Tensor], Tensor]) -> Tensor:
        """Gradient of a function of all sequences' log-probabilities, at `now`, with respect to the logits."""
        logits_PV = self.now_PV.clone().requires_grad_()
        (found_PV,) = torch.autograd.grad(value(self.language.logp_N(logits_PV)), logits_PV)
        return found_PV

    @property
    def off(self) -> float:
        """Share of drawn decisions whose ratio now / old lies outside [0.8, 1.2]."""
        language = self.language
        ratio_D = (self.now_PV.log_softmax(-1) - self.old_PV.log_softmax(-1)).exp().reshape(-1)
        outside_K = ((ratio_D - 1).abs() > 0.2).double()[language.edge_K]
        chance_K = torch.repeat_interleave(self.chance_N, language.length_N)
        return float((chance_K * outside_K).sum() / chance_K.sum())


def norm(x: Tensor) -> float:
    return float(x.square().sum().sqrt())
