"""Memory: what a policy is reminded of before it is asked, and who chooses it.

    read       before a task is asked, cases of other tasks are put before its question
    observe    with a step's commit, its rollouts become cases, and a reader learns which cases helped

    Method("reminded", memory=Bank(Nearest(), k=4), update=Still(), …)      the policy stays as it is, and what it is shown grows
    GRPO.but("both", memory=Bank(Likely()))                                 both learn

What a memory holds is a function of the commits: observed once a step, on every graded group, whatever its gates keep, in canonical order.
So nothing depends on who finished first, and what was observed since a checkpoint is observed again. A task keeps its id, whatever stands
before its question; a rollout names the cases that it was shown, `keys["read"]`. A task is never shown cases of its own. In an evaluation
the memory is read and not written, and a task whose case it holds is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast
from zlib import crc32

import torch
from torch import Tensor

from strop.records import Group, Rollout, Scores, Task, digest
from strop.seams.context import Ctx, keyed
from strop.seams.part import nearest

State = Any
Weights = dict[str, Tensor]


class Memory(Protocol):
    def init(self, seed: int) -> State:
        """What it holds before the first step. `seed` is the run's."""
        ...

    def read(self, task: Task, state: State, ctx: Ctx, room: int) -> tuple[Task, tuple[int, ...]]:
        """The task as it is asked, with its own id, and the numbers of the cases that it is shown; its prompt has at most `room` tokens
        where it had no more before."""
        ...

    def holds(self, task: Task, state: State) -> bool:
        """Whether there are cases of this task."""
        ...

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        """Called once a step with every graded group, whatever its gates keep, in canonical order."""
        ...

    def facts(self, state: State) -> dict[str, Any]:
        """What a metrics line says of it: plain JSON, a `digest` of all that it holds among it."""
        ...

    def save(self, state: State) -> tuple[dict[str, Any], Weights]:
        """Plain JSON and tensors, as they stand in a checkpoint."""
        ...

    def load(self, said: Mapping[str, Any], weights: Weights) -> State:
        """From there."""
        ...


Remind = Callable[[Task, Ctx, int], tuple[Task, tuple[int, ...]]]


def only_read(memory: Memory, state: State) -> Remind:
    """A memory as it is asked in an evaluation: it stays as it is, and what it knows already is nothing to be evaluated on."""

    def remind(task: Task, ctx: Ctx, room: int) -> tuple[Task, tuple[int, ...]]:
        if memory.holds(task, state):
            raise ValueError(
                f"the task {task.id} ({task.prompt[:40]!r}) is held out, and the memory holds a case of it: it would be shown what it "
                "wrote there. Evaluate on tasks that were not trained on."
            )
        return memory.read(task, state, ctx, room)

    return remind


# ------------------------------------------------------------------------------------------------ texts as vectors


class Embed(Protocol):
    """Texts as rows of one length, each of length 1. A function of the text alone."""

    @property
    def size(self) -> int:
        """Numbers in a row."""
        ...

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """A row each."""
        ...


@dataclass(frozen=True)
class Words:
    """How often each word stands in a text; words that share a place count together. It knows no meaning, and needs no model."""

    size: int = 512
    """Places."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Words(size={self.size}): needs at least 1 place")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        made = torch.zeros(len(texts), self.size)
        for number, text in enumerate(texts):
            for word in text.split():
                made[number, crc32(word.encode()) % self.size] += 1
        return torch.nn.functional.normalize(made, dim=-1)


@dataclass(frozen=True)
class Encoded:
    """What a sentence encoder makes of a text, the mean over its tokens. A directory of a model that transformers loads."""

    model: str
    """Its directory."""
    most: int = 256
    """Tokens of a text that are read."""

    @property
    def size(self) -> int:
        return _encoder(self.model)[1].config.hidden_size

    def __call__(self, texts: Sequence[str]) -> Tensor:
        tokenizer, model = _encoder(self.model)
        made: list[Tensor] = []
        for start in range(0, len(texts), 64):
            told = tokenizer(list(texts[start : start + 64]), padding=True, truncation=True, max_length=self.most, return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**told).last_hidden_state
            mask = told["attention_mask"][..., None]
            made.append((hidden * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(made), dim=-1).clone() if made else torch.zeros(0, self.size)


@lru_cache(maxsize=2)
def _encoder(model: str) -> tuple[Any, Any]:
    import transformers
    from transformers import AutoModel, AutoTokenizer

    if not (Path(model) / "config.json").is_file():
        raise ValueError(f"Encoded({model!r}): no directory of a model stands there (config.json, tokenizer, weights)")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    from_tokens, from_weights = cast(Any, AutoTokenizer), cast(Any, AutoModel)
    return from_tokens.from_pretrained(model), from_weights.from_pretrained(model).eval()


# ------------------------------------------------------------------------------------------------ who reads


class Reader(Protocol):
    """Scores cases for a task. The best k are read."""

    @property
    def embed(self) -> Embed:
        """How texts become vectors."""
        ...

    whole: ClassVar[bool]
    """Whether a case is seen with what was written, or by its question alone."""

    def init(self, seed: int) -> Weights:
        """What it knows before it learned anything."""
        ...

    def mapped(self, weights: Weights, kept_ND: Tensor) -> Tensor | None:
        """Of each case what its score needs, computed once for all questions until the reader learns again; None: its vector."""
        ...

    def scores(self, weights: Weights, asked_D: Tensor, mapped_ND: Tensor, rng: Any) -> Tensor:
        """One number per case: a higher one is read first, and of equal ones the older."""
        ...

    def learn(self, weights: Weights, told: Told, seed: int) -> tuple[Weights, dict[str, float]]:
        """What it knows after all that was told, and facts of that."""
        ...


class Told(NamedTuple):
    """What became of tasks behind the cases that they were shown: one row a case and task."""

    asked_CD: Tensor
    """Vectors of all questions that are held."""
    kept_CD: Tensor
    """Vectors of all cases."""
    task_N: Tensor
    """Which of the questions."""
    case_N: Tensor
    """Which of the cases it was shown."""
    label_N: Tensor
    """What the task earned."""
    weight_N: Tensor
    """How much it counts."""
    trained: int
    """How often the reader learned before."""

    def rows(self, picked: Tensor) -> Told:
        """Some of its rows."""
        of_N = {name: getattr(self, name)[picked] for name in ("task_N", "case_N", "label_N", "weight_N")}
        return self._replace(**of_N)


class _Still:
    """One that learns nothing."""

    def init(self, seed: int) -> Weights:
        return {}

    def mapped(self, weights: Weights, kept_ND: Tensor) -> None:
        return None

    def learn(self, weights: Weights, told: Told, seed: int) -> tuple[Weights, dict[str, float]]:
        return weights, {}


@dataclass(frozen=True)
class AnyCases(_Still):
    """Any cases: what reading is worth without a choice."""

    embed: Embed = Words(1)
    """Not looked at."""
    whole: ClassVar[bool] = False

    def scores(self, weights: Weights, asked_D: Tensor, mapped_ND: Tensor, rng: Any) -> Tensor:
        return torch.tensor([rng.random() for _ in range(len(mapped_ND))])


@dataclass(frozen=True)
class Nearest(_Still):
    """The cases whose questions look most like this one: the cosine of their vectors."""

    embed: Embed = Words()
    """How texts become vectors."""
    whole: ClassVar[bool] = False

    def scores(self, weights: Weights, asked_D: Tensor, mapped_ND: Tensor, rng: Any) -> Tensor:
        return mapped_ND @ asked_D


@dataclass(frozen=True)
class Likely:
    """The cases behind which the task is likeliest solved, as a small net has learned from what became of earlier tasks.

    The net sees both texts through one linear map, u and v, and gives w2 relu(W1 (u*v) + b): the logit of `solved`. Before it knows `least`
    tasks that were solved behind their cases and as many that were not, the nearest cases are read. What it was told is little and told
    of k cases at once, so its weights are pulled to zero hard: without that it knows the tasks apart and learns nothing of the cases.
    """

    embed: Embed = Words()
    """How texts become vectors."""
    alpha: float | None = None
    """None: the k highest. Above 0: k drawn without replacement by softmax(logit / alpha)."""
    width: int = 64
    """Of u and v."""
    hidden: int = 64
    """Of the layer behind them."""
    lr: float = 1e-2
    """Of its optimiser, AdamW."""
    decay: float = 2.0
    """Of its weights."""
    batch: int = 256
    """Rows of an update, drawn from all that it was told."""
    updates: int = 200
    """Each time it learns."""
    every: int = 50
    """Tasks between two times that it learns."""
    least: int = 20
    """Tasks of either end that it must know."""
    balance: bool = True
    """Solved tasks weigh (unsolved / solved), where that is above 1."""
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.width, self.hidden, self.batch, self.updates, self.every, self.least) < 1 or self.lr <= 0 or self.decay < 0:
            raise ValueError(f"{self}: width, hidden, batch, updates, every and least are at least 1, lr above 0 and decay at least 0")
        if self.alpha is not None and self.alpha <= 0:
            raise ValueError(f"Likely(alpha={self.alpha}): above 0, or None for the k highest")

    def init(self, seed: int) -> Weights:
        generator = torch.Generator().manual_seed(keyed(seed, "reader").getrandbits(31))
        drawn = {name: torch.randn(shape, generator=generator) for name, shape in self._shapes.items()}
        made = {
            "map": drawn["map"],
            **{name: t / math.sqrt(t.shape[1]) for name, t in drawn.items() if name != "map"},
        }  # a text has length 1
        return made | {"bias": torch.zeros(self.hidden), "known": torch.zeros(1)}

    @property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        return {"map": (self.width, self.embed.size), "first": (self.hidden, self.width), "second": (1, self.hidden)}

    def mapped(self, weights: Weights, kept_ND: Tensor) -> Tensor | None:
        return kept_ND @ weights["map"].T if weights["known"] else None

    def scores(self, weights: Weights, asked_D: Tensor, mapped_ND: Tensor, rng: Any) -> Tensor:
        if not weights["known"]:
            return mapped_ND @ asked_D
        logit_N = self.logits(weights, asked_D[None] @ weights["map"].T, mapped_ND)
        if self.alpha is None:
            return logit_N
        noise = torch.tensor([rng.random() for _ in range(len(mapped_ND))]).clamp(1e-9, 1 - 1e-9)
        return logit_N / self.alpha - (-noise.log()).log()

    def logits(self, weights: Weights, asked_NW: Tensor, case_NW: Tensor) -> Tensor:
        """Of `solved`, a row each, of both texts as they are mapped."""
        both = asked_NW * case_NW
        return (torch.relu(both @ weights["first"].T + weights["bias"]) @ weights["second"].T)[:, 0]

    def loss(self, weights: Weights, told: Told) -> Tensor:
        """The weighted mean of -r log q - (1 - r) log(1 - q)."""
        both = (table[rows] @ weights["map"].T for table, rows in ((told.asked_CD, told.task_N), (told.kept_CD, told.case_N)))
        logit_N = self.logits(weights, *both)
        each_N = torch.nn.functional.binary_cross_entropy_with_logits(logit_N, told.label_N, reduction="none")
        return (each_N * told.weight_N).sum() / told.weight_N.sum()

    def learn(self, weights: Weights, told: Told, seed: int) -> tuple[Weights, dict[str, float]]:
        solved_N, rows = told.label_N >= 0.5, len(told.label_N)
        if min(count := [int(solved_N.sum()), int((~solved_N).sum())]) < self.least:
            return weights, {"rows": rows}
        if self.balance:
            told = told._replace(weight_N=torch.where(solved_N, told.weight_N * max(1.0, count[1] / count[0]), told.weight_N))
        net = {name: t.clone().requires_grad_(name != "known") for name, t in weights.items()}
        optimiser = torch.optim.AdamW([t for t in net.values() if t.requires_grad], lr=self.lr, weight_decay=self.decay)
        generator, total = torch.Generator().manual_seed(keyed(seed, "learn", told.trained).getrandbits(31)), 0.0
        with torch.enable_grad():
            for _ in range(self.updates):
                picked = torch.randint(rows, (self.batch,), generator=generator)
                optimiser.zero_grad()
                loss = self.loss(net, told.rows(picked))
                loss.backward()  # pyright: ignore[reportUnknownMemberType]
                optimiser.step()  # pyright: ignore[reportUnknownMemberType]
                total += loss.item()
        made = {name: t.detach() for name, t in net.items()} | {"known": torch.ones(1)}
        return made, {"rows": rows, "loss": total / self.updates}


# ------------------------------------------------------------------------------------------------ how cases are shown


@dataclass(frozen=True)
class Cases:
    """How a prompt is written with cases before it: those that were right apart from those that were not."""

    right: str = "Solved before, to go by:"
    """Before the right ones."""
    wrong: str = "Tried before, and wrong:"
    """Before the others; where it is empty they are not shown."""
    now: str = "Now:"
    """Before the question."""

    def __call__(self, prompt: str, cases: Sequence[Case]) -> str:
        lines = list[str]()
        for head, of in ((self.right, True), (self.wrong, False)):
            told = [f"{case.prompt}\n{case.wrote}" for case in cases if case.right is of]
            lines += [head, *told] if told and (head or of) else []
        return "\n".join([*filter(None, lines), *filter(None, [self.now]), prompt]) if lines else prompt


# ------------------------------------------------------------------------------------------------ a bank of cases


class Case(NamedTuple):
    """A task that was tried."""

    number: int
    """Counted from the first that was ever written."""
    task: str
    """Its id."""
    prompt: str
    """What was asked, without the cases before it."""
    wrote: str
    """What the policy wrote."""
    value: float
    """What that earned."""
    step: int
    """When."""

    @property
    def right(self) -> bool:
        """Whether it is to go by."""
        return self.value >= 0.5


class Held:
    """What a bank holds. Cases are only ever added behind and forgotten before, so it is one object that grows."""

    def __init__(self, seed: int, weights: Weights, size: int):
        self.seed, self.weights = seed, weights
        self.cases: list[Case] = []
        self.asked, self.kept = torch.zeros(0, size), torch.zeros(0, size)
        """Vectors of questions, and of cases as the reader sees them, with room behind for those to come."""
        self.mapped: Tensor | None = None
        """What the reader made of the cases; None: it looks at their vectors."""
        self.own: dict[str, list[int]] = {}
        """Numbers of the cases of a task."""
        self.rows: list[tuple[int, int, float, float]] = []
        """(case of the task that was asked, case that it was shown, what it earned, weight): what the reader learns from."""
        self.written, self.since, self.trained = 0, 0, 0
        """Cases ever, tasks since the reader last learned, times that it learned."""
        self.read: tuple[int, int] = (0, 0)
        """In the last step: cases that were read, and right ones among them."""
        self.learned: dict[str, float] = {}
        self.digest = ""

    @property
    def first(self) -> int:
        """Number of the oldest case that is held."""
        return self.written - len(self.cases)

    def at(self, number: int) -> Case | None:
        """The case of a number, where it is still held."""
        place = number - self.first
        return self.cases[place] if 0 <= place < len(self.cases) else None


WRITES = ("first", "best", "all")
CREDITS = ("each", "share")


@dataclass(frozen=True)
class Bank:
    """A bank of cases: a task's question, what was written and what it earned. What is read is put before the next question."""

    reader: Reader = Nearest()
    """Who chooses."""
    k: int = 4
    """Cases a task is shown, at most; 0: none, and the prompt is as without a memory."""
    write: str = "first"
    """Which rollouts of a task become cases: the first that was graded, the first of the best, or all."""
    most: int = 100_000
    """Cases that are held; behind that the oldest are forgotten."""
    longest: int = 2000
    """Characters of what was written that a case keeps, the last ones."""
    credit: str = "each"
    """What a task's outcome says of the cases it was shown: each is told it, or a k-th of it in weight."""
    edit: Cases = Cases()
    """How cases stand before a question."""

    def __post_init__(self) -> None:
        if self.k < 0 or self.most < 1 or self.longest < 1:
            raise ValueError(f"Bank(k={self.k}, most={self.most}, longest={self.longest}): k is at least 0, most and longest at least 1")
        for name, value, known in (("write", self.write, WRITES), ("credit", self.credit, CREDITS)):
            if value not in known:
                raise ValueError(f"Bank({name}={value!r}): {', '.join(known)}. {nearest(value, known)}")

    def init(self, seed: int) -> Held:
        return Held(seed, self.reader.init(seed), self.reader.embed.size)

    def read(self, task: Task, state: Held, ctx: Ctx, room: int) -> tuple[Task, tuple[int, ...]]:
        own = [number - state.first for number in state.own.get(task.id, ()) if number >= state.first]
        among = min(self.k, len(state.cases) - len(own))
        if among < 1:
            return task, ()
        asked_D = self.reader.embed([task.prompt])[0]
        seen = state.kept if state.mapped is None else state.mapped
        scores_N = self.reader.scores(state.weights, asked_D, seen[: len(state.cases)], ctx.rng("read", ctx.place))
        if own:
            scores_N = scores_N.index_fill(0, torch.tensor(own), -torch.inf)
        cases = [state.cases[i] for i in _highest(scores_N, among)]
        tokens = ctx.policies["actor"].renderer.prompt
        while cases and len(tokens(self.edit(task.prompt, cases))) > room:
            cases = cases[:-1]
        return replace(task, prompt=self.edit(task.prompt, cases)), tuple(case.number for case in cases)

    def holds(self, task: Task, state: Held) -> bool:
        return task.id in state.own

    def observe(self, state: Held, groups: list[Group], scores: Scores, ctx: Ctx) -> Held:
        fresh, read = list[tuple[Case, Rollout]](), list[Case]()
        for group in groups:
            if group.role != "solve":
                continue
            graded = [(r, v) for r in group.rollouts if (v := scores.get(r, "outcome")) is not None]
            read += [case for r in group.rollouts for n in r.keys.get("read", ()) if (case := state.at(n)) is not None]
            state.since += 1
            for rollout, value in self._kept(graded):
                wrote = rollout.text.strip()[-self.longest :]
                number = state.written + len(fresh)
                fresh.append((Case(number, group.task.id, group.task.prompt, wrote, value, ctx.progress.step), rollout))
        state.read = (len(read), sum(case.right for case in read))
        if fresh:
            self._write(state, fresh)
        if state.since >= getattr(self.reader, "every", math.inf):
            state.since = 0
            state.weights, state.learned = self.reader.learn(state.weights, self._told(state), state.seed)
            state.trained += 1
            state.mapped = self.reader.mapped(state.weights, state.kept[: len(state.cases)])
        return state

    def _kept(self, graded: list[tuple[Rollout, float]]) -> list[tuple[Rollout, float]]:
        if self.write == "all" or not graded:
            return graded
        return [graded[0] if self.write == "first" else max(graded, key=lambda one: one[1])]

    def _write(self, state: Held, fresh: list[tuple[Case, Rollout]]) -> None:
        embed, cases = self.reader.embed, [case for case, _ in fresh]
        asked = embed([case.prompt for case in cases])
        kept = embed([f"{case.prompt}\n{case.wrote}" for case in cases]) if self.reader.whole else asked
        held = len(state.cases)
        state.asked, state.kept = _grown(state.asked, held, asked), _grown(state.kept, held, kept)
        if state.mapped is not None and (new := self.reader.mapped(state.weights, kept)) is not None:
            state.mapped = _grown(state.mapped, held, new)
        for case, rollout in fresh:
            shown = [n for n in rollout.keys.get("read", ()) if state.at(n) is not None]
            weight = 1 / len(shown) if shown and self.credit == "share" else 1.0
            state.rows += [(case.number, n, case.value, weight) for n in shown]
            state.own.setdefault(case.task, []).append(case.number)
        state.cases += cases
        state.written += len(cases)
        state.digest = digest([state.digest, *([*case] for case in cases)])[:16]
        if (over := len(state.cases) - self.most) > 0:
            self._forget(state, over)

    def _forget(self, state: Held, over: int) -> None:
        for case in state.cases[:over]:
            state.own[case.task].remove(case.number)
            if not state.own[case.task]:
                del state.own[case.task]
        held = len(state.cases)
        for table in (state.asked, state.kept, state.mapped):
            if table is not None:
                table[: held - over] = table[over:held].clone()
        del state.cases[:over]
        state.rows = [row for row in state.rows if min(row[:2]) >= state.first]

    def _told(self, state: Held) -> Told:
        asked = torch.tensor([row[0] for row in state.rows], dtype=torch.long) - state.first
        shown = torch.tensor([row[1] for row in state.rows], dtype=torch.long) - state.first
        label, weight = (torch.tensor([row[i] for row in state.rows], dtype=torch.float32) for i in (2, 3))
        return Told(state.asked, state.kept, asked, shown, label, weight, state.trained)

    def facts(self, state: Held) -> dict[str, Any]:
        """`cases` that are held, those `written` ever, the share of `right` ones among them; how many were `read` in the step, and the
        right ones among these; what the reader `learned` last."""
        right = sum(case.right for case in state.cases) / len(state.cases) if state.cases else None
        read, good = state.read
        said: dict[str, Any] = {"cases": len(state.cases), "written": state.written, "right": right, "read": read, "read_right": good}
        tensors = [t.numpy().tobytes().hex() for _, t in sorted(state.weights.items())]
        return said | ({"learned": state.learned} if state.learned else {}) | {"digest": digest([state.digest, *tensors])[:16]}

    def save(self, state: Held) -> tuple[dict[str, Any], Weights]:
        said = {
            "cases": [list(case) for case in state.cases],
            "rows": [list(row) for row in state.rows],
            "seed": state.seed,
            "written": state.written,
            "since": state.since,
            "trained": state.trained,
            "read": list(state.read),
            "learned": state.learned,
            "digest": state.digest,
        }
        held = len(state.cases)
        tables = {"asked": state.asked, "kept": state.kept, **({} if state.mapped is None else {"mapped": state.mapped})}
        vectors = {name: table[:held].clone() for name, table in tables.items()}
        return said, {f"reader.{name}": t for name, t in state.weights.items()} | vectors

    def load(self, said: Mapping[str, Any], weights: Weights) -> Held:
        reader = {name.removeprefix("reader."): t for name, t in weights.items() if name.startswith("reader.")}
        state = Held(said["seed"], reader, self.reader.embed.size)
        state.cases = [Case(*case) for case in said["cases"]]
        state.asked, state.kept = weights["asked"].clone(), weights["kept"].clone()
        if "mapped" in weights:
            state.mapped = weights["mapped"].clone()
        state.rows = [(row[0], row[1], row[2], row[3]) for row in said["rows"]]
        state.written, state.since, state.trained = said["written"], said["since"], said["trained"]
        state.read, state.learned, state.digest = (said["read"][0], said["read"][1]), dict(said["learned"]), said["digest"]
        for case in state.cases:
            state.own.setdefault(case.task, []).append(case.number)
        return state


def _highest(scores_N: Tensor, k: int) -> list[int]:
    """Places of the k highest, of equal ones the first."""
    return cast(list[int], torch.sort(scores_N, descending=True, stable=True).indices[:k].tolist())  # pyright: ignore[reportUnknownMemberType]


def _grown(held: Tensor, count: int, more: Tensor) -> Tensor:
    """With rows behind the first `count`; room is doubled where it is used up."""
    if count + len(more) > len(held):
        wider = held.new_zeros(max(2 * len(held), count + len(more), 64), more.shape[1])
        wider[:count] = held[:count]
        held = wider
    held[count : count + len(more)] = more
    return held
