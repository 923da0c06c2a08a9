"""MCP-Bench (arXiv:2508.20453): how it could be wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, end_of, held_out
from strop.lab import tools
from strop.method import Method
from strop.methods.mcp_bench import GRADERS, SHORT, TAUGHT
from strop.program import Program, Stage, rest
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores, Task, canonical
from strop.seams.context import Ctx, Footprint, keyed
from strop.seams.episode import Episodes, Played
from strop.seams.part import part
from strop.seams.rubric import SIX, Rubric, orders
from strop.seams.rules import RULES, made
from strop.seams.update import Still
from strop.seams.world import Call, World, calls
from strop.worlds.servers import Servers, domains

# ------------------------------------------------------------------------------------------------ agents of known quality


SELDOM = 0.1
"""How often the one who mostly does nothing does something."""


class Acting(NamedTuple):
    """An agent by script. oracle: the task's own calls. wrong: they, with another tool in the place of one. blind: they, but what another
    call's answer should say is guessed among what there is. random: twice as many calls of any tool, with what it has read. idle: one of
    the task's calls in one task of ten, and nothing else. nothing: no call."""

    kind: str

    def __call__(self, state: Any, turn: int) -> str | Call:
        needs = state["needs"]
        gold, rng = needs["gold"], keyed("agent", self.kind, canonical(needs["gold"]), turn)
        if turn >= len(gold) * (2 if self.kind == "random" else 1) or self.kind == "nothing":
            return "."
        name, arguments = gold[turn % len(gold)]
        if self.kind == "random":
            return self._any(needs, state, rng)
        chosen = keyed("agent", self.kind, canonical(gold))
        if self.kind == "idle" and (turn or chosen.random() >= SELDOM):
            return "."
        if self.kind == "wrong" and turn == chosen.randrange(len(gold)):
            return self._another(needs, name, arguments, rng)
        return Call(name, self._guessed(needs, state, turn, rng) if self.kind == "blind" else arguments)

    def _guessed(self, needs: Mapping[str, Any], state: Any, turn: int, rng: random.Random) -> dict[str, Any]:
        """The arguments of a call, those that another one's answer should give by chance."""
        name, arguments = needs["gold"][turn]
        domain = domains(needs)[""]
        asks, unknown = domain.asks(domain.tool(name)), {f for _, j, fields in needs["edges"] if j == turn for f in fields}
        rows = state["data"][""]["rows"]
        return {field: _some(asks[field], [*rows.get(field, ())], rng) if field in unknown else v for field, v in arguments.items()}

    def _another(self, needs: Mapping[str, Any], name: str, arguments: Mapping[str, Any], rng: random.Random) -> Call:
        """A call of another tool, with those arguments that it shares."""
        domain, tool = rng.choice([(d, tool) for d in domains(needs).values() for tool in d.operations if tool.name != name])
        return Call(tool.name, {field: arguments.get(field, _some(kind, [], rng)) for field, kind in domain.asks(tool).items()})

    def _any(self, needs: Mapping[str, Any], state: Any, rng: random.Random) -> Call:
        """A call of any tool, with letters and numbers that the task or an answer told."""
        domain, tool = rng.choice([(d, tool) for d in domains(needs).values() for tool in d.operations])
        read = [*needs["explicit"].split(), *map(str, state["read"])]
        letters, numbers = [w for w in read if len(w) == 1 and w.isalpha()], [int(w) for w in read if w.isdigit()]
        asked = domain.asks(tool).items()
        return Call(tool.name, {field: _some(kind, numbers if kind == "number" else letters, rng) for field, kind in asked})


def _some(kind: str, among: Sequence[Any], rng: random.Random) -> Any:
    """A value of a kind."""
    return rng.choice(among or ([*range(10)] if kind == "number" else [*"abcdefghijklmnopqrstuvwxyz"]))


KNOWN = ("oracle", "wrong", "blind", "random", "nothing")
"""Of known quality, the best one first."""
AGENTS = (*KNOWN[:-1], "idle", "nothing")


@dataclass(frozen=True)
class Cast:
    """Sampler: each task is played by every agent in turn; a rollout says whose it is."""

    agents: tuple[str, ...] = AGENTS
    """Who plays."""
    how: Episodes = replace(SHORT, turns=13)  # noqa: RUF009
    """Their turns and calls."""

    @property
    def n(self) -> int:
        return len(self.agents)

    @property
    def max_tokens(self) -> int:
        return self.how.max_tokens

    @property
    def group_size(self) -> int:
        return len(self.agents)

    def sized(self, group: int | None, max_tokens: int | None) -> Cast:
        return self

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(0, 0)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        found = list[Rollout]()
        for name in self.agents:
            played = Played(Acting(name), replace(self.how, n=1))
            (group,) = await played(task, world, ctx.at(f"{ctx.place}/{name}"))
            found += [replace(rollout, provenance=name) for rollout in group.rollouts]
        return [Group(task, tuple(found), id=ctx.place)]


PLAYED = Method("mcp-bench-agents", paper="2508.20453", sampler=Cast(), graders=GRADERS, credit=(), signals={}, update=Still(), tasks=25)
"""Every agent plays every task, and nothing is learned."""


# ------------------------------------------------------------------------------------------------ the rules


Table = dict[str, dict[str, float]]
"""Of each agent the average of each metric; none where no episode is left that has one."""


def averages(groups: Sequence[Group], official: bool) -> Table:
    """Of each agent, over its episodes."""
    played = {name: [(r, g.task) for g in groups for r in g.rollouts if r.provenance == name] for name in AGENTS}
    return {name: tools.averages(those, official=official) for name, those in played.items()}


def last(table: Table, agent: str, others: Sequence[str]) -> float:
    """Share of the metrics on which an agent is below every other one."""
    return fmean(metric in table[agent] and all(table[agent][metric] < table[other][metric] for other in others) for metric in RULES)


@lru_cache(maxsize=32)
def played(directory: Path) -> tuple[tuple[Group, ...], ...]:
    """The groups of a run, step by step."""
    from strop.directory import read_commit, recorded_steps

    commits = (read_commit(directory, step) for step in range(recorded_steps(directory)))
    return tuple(tuple(Group.from_json(group) for group in (record or {"groups": []})["groups"]) for record in commits)


def so_far(trace: Trace) -> Iterator[tuple[float, list[Group]]]:
    """What was spent after each step, and all groups until then."""
    groups = list[Group]()
    for spent, step in zip(trace.spent, played(trace.places[-1]), strict=True):
        groups += step
        yield float(spent), groups


@part(gives="curve")
def last_on(trace: Trace, *, agent: str = "idle", official: bool = False) -> Curve:
    """Share of the five metrics on which this agent is below every other one that plays, all tasks so far."""
    others = [name for name in AGENTS if name not in (agent, "nothing")]
    return [(spent, last(averages(groups, official), agent, others)) for spent, groups in so_far(trace)]


@part(gives="number")
def ordered_by(trace: Trace, *, metric: str) -> float:
    """The smallest step between agents of known quality, in their order."""
    *_, (_, groups) = so_far(trace)
    found = [averages(groups, False)[name][metric] for name in KNOWN]
    return min(a - b for a, b in pairwise(found))


@part(gives="number")
def never_last(trace: Trace) -> float:
    """Share of the metrics on which the agent that never calls is below all others of known quality."""
    *_, (_, groups) = so_far(trace)
    return last(averages(groups, False), "nothing", KNOWN[:-1])


@part(gives="number")
def tasks_played(trace: Trace) -> float:
    """Tasks, over the run."""
    return sum(len(step) for step in played(trace.places[-1]))


@part(gives="number")
def silent(trace: Trace, *, agent: str) -> float:
    """Share of an agent's episodes without a call."""
    return fmean(not calls(r) for step in played(trace.places[-1]) for group in step for r in group.rollouts if r.provenance == agent)


AGENT_RUN: dict[str, Any] = {
    "method": "mcp-bench",
    "recipe": Recipe(task="servers", steps=1000, lr=0.0, checkpoint_every=1000),
    "profiles": {"quick": Profile((0, 1), "800 calls", 1), "full": Profile(tuple(range(10)), "1800 calls", 2)},
    "random": False,
}

NOTHING = Claim(
    "mcp-bench-nothing",
    mechanism="Scoring an episode without a call 0 instead of leaving it out of the average",
    consequence="raises by 0.5 or more the share of metrics on which an agent is last that makes one call in one task of ten",
    regime="on wishes of two to six calls over eight servers, beside scripted agents of known quality, at equal calls",
    arms=(
        Arm("zero", PLAYED),
        Arm("official", PLAYED, control="the official rule: None, which leaves the average", reads=last_on(official=True)),
    ),
    compare=("zero", "official"),
    measure=last_on(),
    threshold=0.5,
    refuted_if="the interval of the paired difference lies below 0.5",
    checks=(
        Check("agents of known quality stand in their order by `depends`: smallest step", ordered_by(metric="depends"), "zero", least=0.01),
        Check("and by `fulfilled`: smallest step", ordered_by(metric="fulfilled"), "zero", least=0.01),
        Check("who never calls is last: share of metrics", never_last(), "zero", least=1.0),
        Check("the idle one is mostly silent: share of its episodes", silent(agent="idle"), "zero", least=0.7),
    ),
    pitfalls="Arithmetic, once the agents are there; seeds draw the tasks, and the shares agree. An agent that never calls at all has no "
    "episode left under the official rule, and the official code averages nothing to 0.0: that one is last by accident. Who makes one "
    "good call in ten tasks gets the oracle's marks for names, schemas and execution.",
    **AGENT_RUN,
)


# ------------------------------------------------------------------------------------------------ the judge's noise


TIMES, REPEATS = 5, 12
"""Answers that are averaged; and how often that is done again, to see how it varies."""
ORDER, NOISE = 1.0, 0.8
"""Points by which a place may raise or lower what is said there, at most; and by which one answer differs from the next."""


class Simulated(NamedTuple):
    """A judge that says the true number, and what its place adds, and something by chance: none of it beyond 0 or 10."""

    places: tuple[float, ...]
    """What each of six places adds."""
    noise: float = NOISE
    """At most, either way, evenly."""

    @staticmethod
    def of(seed: int) -> Simulated:
        """One with places of its own."""
        rng = keyed("judge", seed)
        return Simulated(tuple(rng.uniform(-ORDER, ORDER) for _ in SIX))

    def says(self, order: Sequence[str], true: float, rng: random.Random) -> str:
        """Its reply, as the rubric asks for it."""
        found = {name: true + self.places[at] + rng.uniform(-self.noise, self.noise) for at, name in enumerate(order)}
        return " ".join(f"<{name}>{value:.6f}</{name}>" for name, value in found.items())

    @property
    def order(self) -> float:
        """Variance of what the places add, over orders by chance."""
        mean = fmean(self.places)
        return fmean((place - mean) ** 2 for place in self.places)

    @property
    def ratio(self) -> float:
        """The variance of five answers in one order, by that of five in orders of their own: noise is averaged both times, the order's
        part in the second alone."""
        own = self.noise**2 / 3
        return (self.order + own / TIMES) / (self.order / TIMES + own / TIMES)


def spread(judge: Simulated, trues: Sequence[float], shuffled: bool, seed: int, times: int = TIMES) -> float:
    """Variance of a dimension's score around its mean, over judgements made again: the mean over episodes and dimensions."""
    rng, read = keyed("judged", seed, int(shuffled), times), Rubric().read
    scores = list[list[float]]()
    for true in trues:
        for _ in range(REPEATS):
            said = [read(judge.says(order, true, rng)) for order in orders(rng, times, shuffled)]
            scores.append([10 * fmean(column) - true for column in zip(*said, strict=True)])
    means = [fmean(column) for column in zip(*scores, strict=True)]
    return fmean((value - mean) ** 2 for row in scores for value, mean in zip(row, means, strict=True))


@lru_cache(maxsize=64)
def spreads(directory: Path, seed: int) -> dict[str, float]:
    """Of what was played in a run: as shuffled, in one order, and asked once."""
    trues = [2 + 6 * (RULES["fulfilled"](made(r), g.task) or 0.0) for step in played(directory) for g in step for r in g.rollouts]
    judge = Simulated.of(seed)
    return {
        "shuffled": spread(judge, trues, True, seed),
        "one order": spread(judge, trues, False, seed),
        "once": spread(judge, trues, True, seed, times=1),
    }


@part(gives="curve")
def cut_by(trace: Trace, *, of: str = "measured") -> Curve:
    """Log of how many times the variance of five answers in one order is that of `measured`: five shuffled ones. `formula`: by the formula.
    `averaged`: that of one answer by that of five in one order, which no shuffle has a part in."""
    found = spreads(trace.places[-1], trace.seed)
    values = {
        "measured": log(found["one order"] / found["shuffled"]),
        "formula": log(Simulated.of(trace.seed).ratio),
        "averaged": log(found["once"] / found["one order"]),
    }
    return [(float(spent), values[of]) for spent in trace.spent]


@part(gives="number")
def order_share(trace: Trace) -> float:
    """The order's part of the variance of one answer."""
    judge = Simulated.of(trace.seed)
    return judge.order / (judge.order + judge.noise**2 / 3)


SHUFFLE = Claim(
    "mcp-bench-shuffle",
    mechanism="Showing a judge its dimensions in another order for each of five answers, instead of in one order five times,",
    consequence="matches within 10 % the formula by which only the order's part of a score's variance falls to a fifth",
    regime="on a simulated judge that adds to the true number what its place adds and noise of its own, read through the rubric",
    arms=(
        Arm("measured", PLAYED, reads=cut_by(of="measured")),
        Arm("formula", PLAYED, control="what it should be for this judge, by arithmetic", reads=cut_by(of="formula")),
        Arm(
            "averaged",
            PLAYED,
            control="five in one order against one answer: what averaging alone does",
            reads=cut_by(of="averaged"),
        ),
    ),
    compare=("measured", "formula"),
    measure=cut_by(),
    threshold=log(1.1),
    tie=True,
    refuted_if="the interval of the difference of logarithms lies outside of log 1.1 to either side",
    checks=(
        Check("orders matter: their part of an answer's variance", order_share(), "measured", least=0.1),
        Check("enough is judged: tasks that every agent played", tasks_played(), "measured", least=100),
    ),
    pitfalls="Exact for a judge whose places add something fixed, and nothing here says that a real one's do. The official order keeps the "
    "two dimensions of a group together, so a dimension's place is still even over six, but two of a group are not independent. Of the "
    "mean over all six dimensions such an effect vanishes with one order too: every place is in it once.",
    **{**AGENT_RUN, "profiles": {"quick": Profile((0, 1), "1800 calls", 1), "full": AGENT_RUN["profiles"]["full"]}},
)


# ------------------------------------------------------------------------------------------------ how hard forms are


def taught(name: str, fuzzy: float) -> Program:
    """An agent that imitates wishes of which this share names no tool."""
    task = f"servers:most=2,servers=2,fuzzy={fuzzy},forms=1"
    return Program(f"mcp-bench-{name}", (Stage("imitate", TAUGHT.but(f"sft-{name}", tasks=2), rest(), task=task),), paper="2508.20453")


EXPLICIT, BOTH = taught("explicit", 0.0), taught("both", 0.5)

LEARNED = Check("explicit wishes are learned: share of them done", end_of(measure=held_out(name="explicit_0")), "explicit", least=0.5)
TAUGHT_FULL = Profile((0, 1, 2, 3), "2000000 trained", 20)
FORMS_RUN: dict[str, Any] = {
    "method": "mcp-bench",
    "recipe": Recipe(task="servers:most=2,servers=2,forms=1", steps=100_000, lr=1e-3, checkpoint_every=100_000),
    "measure": held_out(name="explicit_0"),
    "profiles": {"quick": Profile((0,), "300000 trained", 3), "full": TAUGHT_FULL},
    "held_out": HeldOut(tasks=240, samples=1, at=(1.0,), max_tokens=SHORT.max_tokens, temperature=0.0),
}

FUZZY = Claim(
    "mcp-bench-fuzzy",
    mechanism="Telling a wish by what is wanted, without a tool's name,",
    consequence="lowers by 0.15 or more the share of wishes that are done",
    regime="on two calls over eight servers, by an agent that imitated wishes which name their tools",
    arms=(
        Arm("explicit", EXPLICIT),
        Arm("fuzzy", EXPLICIT, control="the same agent, asked without names", reads=held_out(name="fuzzy_0")),
        Arm("taught both", BOTH, control="as many positions, half of the wishes without names", reads=held_out(name="fuzzy_0")),
    ),
    compare=("explicit", "fuzzy"),
    threshold=0.15,
    refuted_if="the interval of the paired difference lies below 0.15",
    pitfalls="Who never met a fuzzy wish knows none of its words, so how much is lost says little of a model that knows language. What the "
    "control shows is that the wishes themselves can be done.",
    checks=(
        LEARNED,
        Check("fuzzy wishes can be learned: share of them done", end_of(measure=held_out(name="fuzzy_0")), "taught both", least=0.3),
    ),
    **{**FORMS_RUN, "profiles": {**FORMS_RUN["profiles"], "full": replace(TAUGHT_FULL, minutes=38)}},
)

DISTRACTORS = Claim(
    "mcp-bench-distractors",
    mechanism="Ten more servers whose tools have the verbs and fields of those that are needed",
    consequence="lowers by 0.05 or more the share of wishes that are done",
    regime="on two calls over eight servers, by an agent that imitated wishes which name their tools, without distractors",
    arms=(
        Arm("explicit", EXPLICIT),
        Arm("among ten", EXPLICIT, control="the same agent among ten mirrors", reads=held_out(name="explicit_10")),
        Arm("apart", EXPLICIT, control="among ten servers that share no name: as long a text", reads=held_out(name="explicit_apart")),
    ),
    compare=("explicit", "among ten"),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05",
    pitfalls="The agent was taught on short texts, so a long one is strange to it whatever it says: only beyond what the servers apart "
    "cost is it the likeness of names.",
    checks=(
        LEARNED,
        Check(
            "as long a text is borne: share done among servers apart", end_of(measure=held_out(name="explicit_apart")), "apart", least=0.3
        ),
    ),
    **FORMS_RUN,
)


def table(count: int = 40) -> str:
    """The averages of agents of known quality over some wishes: as strop scores them, and in brackets by the official rule, where it
    says something else."""
    import asyncio

    from strop.policies.causal import load
    from strop.seams.context import Handle, Progress
    from strop.seams.episode import Pen
    from strop.tasks import source

    async def ungraded(groups: list[Group]) -> Scores:
        return Scores({})

    asked, renderer, groups = source("servers"), load("pico").renderer, list[Group]()
    for index in range(count):
        ctx = Ctx(0, Progress(), asked, {"actor": Handle(Pen(4096), renderer)}, ungraded, place=str(index))
        groups += asyncio.run(Cast()(asked.task("train", 0, index), Servers(), ctx))
    ours, theirs = averages(groups, official=False), averages(groups, official=True)
    rows = [["agent", *RULES], ["---"] * (1 + len(RULES))]
    for name in AGENTS:
        said = [f"{ours[name][m]:.2f}" for m in RULES]
        other = [f"{theirs[name][m]:.2f}" if m in theirs[name] else "none" for m in RULES]
        rows.append([name, *(one if one == two else f"{one} ({two})" for one, two in zip(said, other, strict=True))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
