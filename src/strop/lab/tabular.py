"""A task source, a policy and an engine over tables: a whole run in a fraction of a second, with pass rates known exactly.

    source = Table(tasks=8)
    run = tabular.create(recipe, directory, source)
    run.train()
    run.policy.rates(source)        # the pass rate of each task, by enumeration

The policy has a row of logits per task and prefix, so it learns each task by itself and nothing about a task it has not
seen: `test` tasks are the train tasks. The prompt of task i is one token, `vocab + i`.

Axes: S tasks; N sequences, P prefixes, V tokens as in `world`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from strop.batch import Batch
from strop.engines import draw
from strop.lab.world import Language
from strop.records import Author, Sampling, Segment, Task
from strop.seams.context import keyed
from strop.seams.engine import Counters, Footprint, Node, called
from strop.seams.head import Head
from strop.seams.source import Graded, Split

if TYPE_CHECKING:
    from strop.loop import Run
    from strop.recipe import Recipe


@dataclass(frozen=True)
class Table:
    """Tasks whose sequences earn 1 or 0: `share` of them, drawn per task from `seed`, are right. The empty one never is."""

    tasks: int = 8
    vocab: int = 4
    length: int = 3
    share: float = 0.25
    seed: int = 0
    name: str = field(default="table", init=False)

    def __post_init__(self) -> None:
        if self.tasks < 1 or not 0 < self.share < 1:
            raise ValueError(f"Table(tasks={self.tasks}, share={self.share}): needs at least 1 task and a share between 0 and 1")

    @property
    def size(self) -> int:
        return self.tasks

    @cached_property
    def language(self) -> Language:
        return Language(self.vocab, self.length)

    @cached_property
    def _made(self) -> list[Task]:
        return [Task(str(i), {"right": self._right(i)}, self.name, {"index": i}) for i in range(self.tasks)]

    def _right(self, index: int) -> list[int]:
        count = self.language.count
        return sorted(keyed("table", self.seed, index).sample(range(1, count), min(max(round(self.share * count), 1), count - 1)))

    def task(self, split: Split, seed: int, index: int) -> Task:
        return self._made[index % self.tasks]

    def grade(self, task: Task, text: str) -> Graded:
        right = float(self.language.number(_read(text)) in task.needs["right"])
        return Graded({"outcome": right, "lenient": right})

    def gold(self, task: Task) -> str:
        return _text(self.language.tokens(task.needs["right"][0]))

    @cached_property
    def reward_SN(self) -> Tensor:
        reward_SN = torch.zeros(self.tasks, self.language.count, dtype=torch.float64)
        for task in self._made:
            reward_SN[task.meta["index"], task.needs["right"]] = 1.0
        return reward_SN


@dataclass(frozen=True)
class Modes(Table):
    """Tables whose right sequences lie in `modes` balls: full length, and at most `radius` letters off a centre. Centres share no letter
    in any place. `share` is not felt."""

    modes: int = 3
    radius: int = 1

    def balls(self, index: int) -> list[list[int]]:
        """The sequences of each ball."""
        language, rng = self.language, keyed("modes", self.seed, index)
        letters = [rng.sample(range(1, self.vocab), self.modes) for _ in range(self.length)]
        full = {n: language.tokens(n) for n in range(language.prefixes, language.count)}
        centres = list(zip(*letters, strict=True))
        return [[n for n, tokens in full.items() if _off(tokens, centre) <= self.radius] for centre in centres]

    def _right(self, index: int) -> list[int]:
        return sorted({n for ball in self.balls(index) for n in ball})


def _off(one: Sequence[int], other: Sequence[int]) -> int:
    """In how many places two words of one length differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))


class TabularPolicy:
    """Logits per task and prefix. It offers what a run asks of any policy; `rates` says exactly how good it is."""

    def __init__(self, tasks: int, language: Language, *, seed: int = 0, spread: float = 1.0, name: str = "tabular"):
        self.tasks, self.language, self.name = tasks, language, name
        self.renderer = Letters(language, tasks)
        self.heads = nn.ModuleDict()
        self.declared: dict[str, Head] = {}
        generator = torch.Generator().manual_seed(seed)
        shape = (tasks, language.prefixes, language.vocab)
        self.logits = nn.Parameter(spread * torch.randn(shape, generator=generator, dtype=torch.float64))
        self._places: dict[tuple[int, ...], list[int]] = {}

    @property
    def device(self) -> torch.device:
        return self.logits.device

    def add_head(self, head: Head) -> None:
        """A number of its own for every place of the table, or for every task, zero at first: no net has anything to generalise from."""
        count = self.tasks * (self.language.prefixes if head.per == "decision" else 1)
        self.declared[head.track] = head
        self.heads[head.name] = made = nn.Embedding(count, 1, dtype=torch.float64)
        nn.init.zeros_(made.weight)

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"logits": self.logits, **{f"heads.{name}": p for name, p in self.heads.named_parameters()}}

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        if any(row.pieces for row in batch.rows):
            raise ValueError("a table knows rows of one line: a row of branches is for a language model")
        place_T = torch.tensor([place for row in batch.rows for place in self._edges(row.tokens)])
        vocab = self.language.vocab
        logits_TV = self.logits.view(-1, vocab)[place_T // vocab]
        if any(s.temperature != 1 for s in batch.samplings):
            heat = torch.tensor([s.temperature for s in batch.samplings], dtype=torch.float64)
            logits_TV = logits_TV / heat[batch.sampling_T][:, None]
        logp_TV = logits_TV.log_softmax(-1)
        certainty = {"certainty_T": -logp_TV.detach().mean(-1) - math.log(vocab)} if "certainty_T" in want else {}
        tracks = {
            "logp_T": logp_TV.gather(-1, (place_T % vocab)[:, None])[:, 0],
            "entropy_T": -(logp_TV.exp() * logp_TV).sum(-1),
            **certainty,
        }
        for head in (head for track, head in self.declared.items() if track in want):
            if head.per == "decision":
                tracks[head.track] = self.heads[head.name](place_T // vocab)[:, 0]
            else:
                task_W = torch.tensor([row.tokens[0] - vocab for row in batch.rows])
                tracks[head.track] = batch.per_rollout(self.heads[head.name](task_W)[:, 0])
        return tracks

    def _edges(self, tokens: tuple[int, ...]) -> list[int]:
        """Where each decision of a row stands in the table."""
        known = self._places.get(tokens)
        if known is None:
            first = (tokens[0] - self.language.vocab) * self.language.prefixes * self.language.vocab
            known = self._places[tokens] = [first + edge for edge in self.language.edges(tokens[1:])]
        return known

    def chance_SN(self) -> Tensor:
        """How likely each task's sequences are."""
        with torch.no_grad():
            return torch.stack([self.language.logp_N(logits_PV).exp() for logits_PV in self.logits])

    def rates(self, source: Table) -> list[float]:
        """The expected outcome of each task, exactly."""
        rate_S = (self.chance_SN() * source.reward_SN).sum(-1)
        return cast(list[float], rate_S.tolist())  # pyright: ignore[reportUnknownMemberType]

    def frozen(self, name: str) -> TabularPolicy:
        made = TabularPolicy(self.tasks, self.language, name=name)
        made.logits = nn.Parameter(self.logits.detach().clone(), requires_grad=False)
        return made

    def export(self, directory: Path) -> None:
        from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

        save_file({"logits": self.logits.detach()}, directory / "table.safetensors")

    def restore(self, directory: Path) -> None:
        from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

        with torch.no_grad():
            self.logits.copy_(load_file(directory / "table.safetensors")["logits"])


@dataclass(frozen=True)
class Letters:
    """A task's number is its prompt; words are letters."""

    language: Language
    tasks: int
    stop: ClassVar[tuple[str, ...]] = ()

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        if not text.isdecimal() or int(text) >= self.tasks:
            raise ValueError(f"a table's prompt is the number of a task below {self.tasks}, got {text[:40]!r}")
        return (self.language.vocab + int(text),)

    def turn(self, text: str) -> tuple[int, ...]:
        raise ValueError("a table holds one turn; use a sampler with turns=1")

    def reply(self, text: str) -> tuple[int, ...]:
        return self.language.tokens(self.language.number(_read(text)))

    def text(self, tokens: Sequence[int]) -> str:
        return _text(tokens)

    def plain(self, text: str) -> tuple[int, ...] | None:
        tokens = tuple(_read(text))
        return tokens if len(tokens) <= self.language.length and all(0 < token < self.language.vocab for token in tokens) else None


def _text(tokens: Sequence[int]) -> str:
    return "".join(chr(ord("a") + token - 1) for token in tokens if token)


def _read(text: str) -> list[int]:
    return [ord(letter) - ord("a") + 1 for letter in text]


class TabularEngine:
    """Writes sequences from the policy's own table, with noise addressed as the embedded engine's: nothing depends on the schedule."""

    grade = "exact"
    own = True
    limits: Mapping[str, float] = MappingProxyType({})
    limit = 1 << 31

    def __init__(self, policy: TabularPolicy, *, seed: int = 0, name: str = "actor"):
        self.policy, self.seed, self.name = policy, seed, name
        self.version, self.step, self.counters = 0, 0, Counters()
        self._tables: dict[float, tuple[list[list[float]], list[list[float]]]] = {}

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        return Node(Segment("prompt", tuple(tokens), called((ordinal,))), None, (ordinal,), root, self.version, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        if stop or sampling.allowed is not None or sampling.top_k or sampling.top_p < 1:
            raise ValueError(f"a table is sampled whole: no stop strings, allowed ids, top-k or top-p; got stop={stop}, {sampling}")
        if node.parent is not None or max < 1:
            raise ValueError(f"a table writes one turn of at least one token under its prompt, got max={max}")
        return self._written(node, node.next(), max, sampling)

    async def _written(self, node: Node, path: tuple[int, ...], most: int, sampling: Sampling) -> Node:
        language, at = self.policy.language, 0
        below, logp = self._table(sampling.temperature)
        first = (node.segment.tokens[0] - language.vocab) * language.prefixes
        limit = min(most, language.length)
        noise = draw.uniforms(
            np.array([draw.key(self.seed, self.step, node.root, path, self.name)], np.uint64), np.arange(node.length, node.length + limit)
        )
        tokens, paid = list[int](), list[float]()
        for u in cast(list[float], noise.tolist()):
            token = bisect_right(below[first + at], u)
            tokens.append(token)
            paid.append(logp[first + at][token])
            if not token:
                break
            at = at * language.words + token
        self.counters.decoded += len(tokens)
        author = Author(self.name, self.version, sampling)
        segment = Segment("action", tuple(tokens), ".".join(map(str, path)), author, tuple(paid))
        ended: Literal["length", "finished"] = "length" if tokens[-1] else "finished"
        return Node(segment, node, path, node.root, self.version, ended, node.length + len(tokens))

    def _table(self, temperature: float) -> tuple[list[list[float]], list[list[float]]]:
        """For every task and prefix: the summed chances below each token, and the log-probabilities in float32. Temperature 0 is greedy."""
        if temperature not in self._tables:
            logits = self.policy.logits.detach().reshape(-1, self.policy.language.vocab)
            if temperature:
                logp = (logits / temperature).log_softmax(-1)
            else:
                best = nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
                logp = torch.zeros_like(logits).masked_fill(~best, -torch.inf)
            below = logp.exp().cumsum(-1)[:, :-1]
            self._tables[temperature] = (
                cast(list[list[float]], below.tolist()),  # pyright: ignore[reportUnknownMemberType]
                cast(list[list[float]], logp.float().tolist()),  # pyright: ignore[reportUnknownMemberType]
            )
        return self._tables[temperature]

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        raise ValueError("a table holds one turn; use a sampler with turns=1")

    async def score(self, node: Node) -> tuple[float, ...]:
        """Log-probability of the node's own tokens, by the weights as they stand."""
        if node.parent is None:
            raise ValueError("a prompt's first token has no past to be scored by; score a node under it.")
        sampling = node.segment.author.sampling if node.segment.author else Sampling()
        _, logp = self._table(sampling.temperature)
        vocab = self.policy.language.vocab
        self.counters.scored += node.length
        first = (node.parent.segment.tokens[0] - vocab) * self.policy.language.prefixes
        return tuple(logp[first + edge // vocab][edge % vocab] for edge in self.policy.language.edges(node.segment.tokens))

    async def given(self, texts: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple[float, ...]]:
        """Log-probabilities of texts, a prompt's token first, from a place on."""
        _, logp = self._table(1.0)
        language = self.policy.language
        found: list[tuple[float, ...]] = []
        for text, start in texts:
            first = (text[0] - language.vocab) * language.prefixes
            found.append(
                tuple(logp[first + edge // language.vocab][edge % language.vocab] for edge in language.edges(text[1:])[start - 1 :])
            )
            self.counters.scored += len(text)
        return found

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def begin(self, step: int) -> None:
        self.step = step

    def deliver(self, version: int) -> None:
        self.version = version
        self._tables.clear()


def engine(policy: TabularPolicy, recipe: Recipe) -> TabularEngine:
    return TabularEngine(policy, seed=recipe.seed)


def create(recipe: Recipe, directory: Path, source: Table = Table(), *, weights: int = 0) -> Run:
    """A run of this recipe on tables. The recipe's seed keys the noise; `weights` the logits it starts from."""
    from strop import run

    policy = TabularPolicy(source.tasks, source.language, seed=weights)
    return run.create(recipe, directory, policy=policy, source=source, engine=engine)


def resume(directory: Path, source: Table = Table()) -> Run:
    from strop import run

    policy = TabularPolicy(source.tasks, source.language)
    return run.resume(directory, policy=policy, source=source, engine=engine)
