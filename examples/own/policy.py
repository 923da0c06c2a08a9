"""A policy and an engine of one's own: a softmax regression that says how two digits compare, and what draws from it.

A claim's `world` hands them to its runs, with a source for them.

strop check examples/own/policy.py        strop claim run examples/own/policy.py
"""

import random
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from strop.batch import Batch
from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import in_step, mean_so_far
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Author, Sampling, Segment, Task
from strop.seams.context import keyed
from strop.seams.credit import reward_itself
from strop.seams.engine import Counters, Footprint, Node, called
from strop.seams.head import Head
from strop.seams.source import Graded, split_of

SAYS = ("less", "equal", "more")
FIRST = 10
"""The token of `less`; those below are the digits of a prompt."""


@dataclass(frozen=True)
class Compare:
    """Two digits, `3 7`: the first is less, equal or more."""

    name = "compare"
    size = None

    def task(self, split: str, seed: int, index: int) -> Task:
        rng = random.Random(f"{split} {seed} {index}")
        while True:  # until one is drawn that belongs to the split
            a, b = rng.randrange(10), rng.randrange(10)
            made = Task(f"{a} {b}", {"answer": SAYS[1 + (a > b) - (a < b)]}, self.name)
            if split_of(made.id) == split:
                return made

    def grade(self, task: Task, text: str) -> Graded:
        right = float(text == task.needs["answer"])
        return Graded({"outcome": right, "lenient": right})

    def gold(self, task: Task) -> str:
        return task.needs["answer"]


class Words:
    """The policy's renderer: texts to tokens and back."""

    stop = ()

    def prompt(self, text: str) -> tuple[int, ...]:
        return tuple(int(digit) for digit in text.split())

    def turn(self, text: str) -> tuple[int, ...]:
        raise ValueError("a comparison is one turn; use a sampler with turns=1")

    def reply(self, text: str) -> tuple[int, ...]:
        return (FIRST + SAYS.index(text),)

    def text(self, tokens: Sequence[int]) -> str:
        return " ".join(SAYS[token - FIRST] for token in tokens if token >= FIRST)

    def plain(self, text: str) -> tuple[int, ...] | None:
        return self.reply(text) if text in SAYS else None


class Regression:
    """The policy: one decision under two digits, linear in their difference."""

    def __init__(self, name: str = "regression"):
        self.name, self.device, self.renderer, self.heads = name, torch.device("cpu"), Words(), nn.ModuleDict()
        self.weight = nn.Parameter(torch.zeros(len(SAYS), 2, dtype=torch.float64))

    def logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([[(a - b) / 3, 1.0] for a, b in prompts], dtype=torch.float64) @ self.weight.T

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        """Every row is a prompt and one decision, so the tracks have one number a row."""
        heat = torch.tensor([batch.samplings[i].temperature for i in batch.sampling_T.tolist()], dtype=torch.float64)
        logp_TV = (self.logits([row.tokens[:2] for row in batch.rows]) / heat[:, None]).log_softmax(-1)
        said_T = torch.tensor([row.tokens[2] - FIRST for row in batch.rows])
        return {"logp_T": logp_TV.gather(-1, said_T[:, None])[:, 0], "entropy_T": -(logp_TV.exp() * logp_TV).sum(-1)}

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"weight": self.weight}

    def add_head(self, head: Head) -> None:
        raise ValueError(f"a regression has no hidden state for the head {head.name!r}")

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield "weight", self.weight.detach()

    def frozen(self, name: str) -> "Regression":
        made = Regression(name)
        made.weight = nn.Parameter(self.weight.detach().clone(), requires_grad=False)
        return made

    def export(self, directory: Path) -> None:
        from safetensors.torch import save_file

        save_file({"weight": self.weight.detach()}, directory / "regression.safetensors")

    def restore(self, directory: Path) -> None:
        from safetensors.torch import load_file

        with torch.no_grad():
            self.weight.copy_(load_file(directory / "regression.safetensors")["weight"])


class Drawing:
    """The engine: draws a decision with noise that is a function of its address, so nothing depends on who else is asked, or when."""

    grade = "exact"
    own = True  # it computes with the learner's own weights and arithmetic
    limits: ClassVar[Mapping[str, float]] = {}
    limit = 3

    def __init__(self, policy: Regression, seed: int, name: str = "actor"):
        self.policy, self.seed, self.name = policy, seed, name
        self.version, self.step, self.counters = 0, 0, Counters()

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        self.counters.prefilled += len(tokens)
        return Node(Segment("prompt", tuple(tokens), called((ordinal,))), None, (ordinal,), root, self.version, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        return self._drawn(node, node.next(), sampling)  # the path is taken by this call, not when it is awaited

    async def _drawn(self, node: Node, path: tuple[int, ...], sampling: Sampling) -> Node:
        logp = self._logp(node, sampling)
        noise = keyed(self.seed, self.step, self.name, node.root, *path)
        chosen = noise.choices(range(len(SAYS)), logp.exp().tolist())[0] if sampling.temperature else int(logp.argmax())
        self.counters.decoded += 1
        author = Author(self.name, self.version, sampling)
        said = Segment("action", (FIRST + chosen,), ".".join(map(str, path)), author, (float(logp[chosen]),))
        return Node(said, node, path, node.root, self.version, "finished", node.length + 1)

    def _logp(self, node: Node, sampling: Sampling) -> Tensor:
        with torch.no_grad():
            return (self.policy.logits([node.tokens])[0] / (sampling.temperature or 1)).log_softmax(-1)

    def extend(self, node: Node, tokens: Sequence[int], *, kind: str) -> Coroutine[Any, Any, Node]:
        raise ValueError("a comparison is one turn; use a sampler with turns=1")

    async def score(self, node: Node) -> tuple[float, ...]:
        assert node.parent is not None
        self.counters.scored += 1
        sampling = node.segment.author.sampling if node.segment.author else Sampling()
        return (float(self._logp(node.parent, sampling)[node.segment.tokens[0] - FIRST]),)

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        return nullcontext()  # it holds no cache

    def begin(self, step: int) -> None:
        self.step = step

    def deliver(self, version: int) -> None:
        self.version = version  # the weights are the policy's own


def world(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """What a run of the claim is handed."""
    return {"policy": Regression(), "source": Compare(), "engine": lambda policy, recipe: Drawing(policy, recipe.seed)}


SIBLINGS = Claim(
    "compare-siblings",
    mechanism="Comparing a rollout with its siblings",
    consequence="earns 0.02 more reward on the way than paying the reward itself",
    regime="on comparisons of two digits by a softmax regression, at equal decisions",
    method="grpo@strop-1",
    recipe=Recipe(tasks=8, group=8, max_tokens=1, steps=1000, lr=0.05),
    arms=(Arm("siblings", GRPO), Arm("alone", GRPO.but("alone", credit=(reward_itself(),)), control="the reward itself")),
    compare=("siblings", "alone"),
    measure=mean_so_far(name="reward"),
    threshold=0.02,
    refuted_if="the interval of the paired difference lies below 0.02",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="2000 decoded", minutes=0.1),
        "full": Profile(seeds=(0, 1, 2, 3), budget="10000 decoded", minutes=1),
    },
    checks=(Check("it can be right or wrong at the start", in_step(name="spread", step=0), "siblings", least=0.5),),
    world=world,
)
