"""WebSailor-V2 (arXiv:2509.13305): how it could be wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.method import Method
from strop.methods.websailor import IMITATED, LOOKS, ON_GRAPHS
from strop.program import Program, Stage, rest
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.update import Still
from strop.seams.world import Call, Said, Seat, World
from strop.tasks.graphs import sides
from strop.worlds.faulty import Faulty
from strop.worlds.graphs import GET, NONE, Graphs, answers, graph_of, looked, read, solved
from strop.worlds.managed import Managed


def tasks_of(trace: Trace) -> Iterator[tuple[float, list[Task]]]:
    """What was spent after each step, and what was asked in it."""
    for spent, (groups, _) in zip(trace.spent, trace.steps(), strict=True):
        yield float(spent), [group.task for group in groups]


# ------------------------------------------------------------------------------------------------ questions with two sides

ASKS = "graphs:nodes=20,least=4,most=4,blur=1,sided=1,each=2,both=1"
"""With 20 nodes and 25 links, or a tree of as many, every node has a small letter of its own: to pico large ones are nearly one."""
CYCLIC, TREES, OPEN = ASKS, f"{ASKS},closed=0.0,tree=1", f"{ASKS},closed=0.0"


def on(name: str, task: str) -> Program:
    """The base goes on alone, on questions of its own."""
    return Program(f"websailor-{name}", (Stage("reinforce", ON_GRAPHS, rest(), task=task),), paper="2509.13305")


@part(gives="number")
def share_closed(trace: Trace) -> float:
    """Of the questions that were trained on, those with two sides."""
    return fmean(task.needs["closed"] for _, tasks in tasks_of(trace) for task in tasks)


@part(gives="number")
def share_open(trace: Trace) -> float:
    """Of the questions that were trained on, those without."""
    return 1 - share_closed.on({"trace": trace})


@part(gives="number")
def both_needed(trace: Trace) -> float:
    """Of the closed questions that were trained on, those of which neither side alone has one answer."""

    def several(task: Task) -> bool:
        return all(len(answers(one, graph_of(task).look)) > 1 for one in sides(read(task.prompt)))

    return fmean(several(task) for _, tasks in tasks_of(trace) for task in tasks if task.needs["closed"])


@part(gives="number")
def mean_held_out(trace: Trace, *, name: str, last: int = 1) -> float:
    """One mean over held-out tasks, at the last evaluation or, with `last=0`, at the first."""
    return float(trace.held_out[-1 if last else 0]["means"][name])


BASE = Recipe(method=IMITATED.but("sft-graphs-base"), task=f"{ASKS},closed=0.2", steps=2500, lr=1e-3, eval_tasks=0, checkpoint_every=2500)

TWO_SIDED = Claim(
    "websailor-cyclic",
    mechanism="Training on walks in graphs with cycles, half of them closed, instead of on walks in trees,",
    consequence="raises by 0.05 or more how often questions with two sides are answered",
    regime="on walks of four steps among 20 nodes, at equal positions, by an agent that imitated a little of both",
    method="websailor",
    recipe=Recipe(task=CYCLIC, steps=100_000, lr=3e-4, checkpoint_every=100_000),
    base=BASE,
    base_seeds="one",
    arms=(
        Arm("cyclic", on("cyclic", CYCLIC)),
        Arm("trees", on("trees", TREES), control="walks in trees of as many links: nothing closes"),
        Arm("open", on("open", OPEN), control="the same graphs with cycles, and no walk closes"),
    ),
    compare=("cyclic", "trees"),
    measure=held_out(name="closed"),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05",
    profiles={
        "quick": Profile((0,), "100000 trained", 10, arms=("cyclic", "trees")),
        "full": Profile((0, 1, 2, 3), "300000 trained", 20, arms=("cyclic", "trees")),
        "extended": Profile((0, 1, 2, 3), "300000 trained", 26),
    },
    checks=(
        Check("the trained questions have two sides: share", share_closed(), "cyclic", least=0.35),
        Check("neither side decides alone, as they are made: share of them", both_needed(), "cyclic", least=1.0),
        Check("the control's have one, as they are made: share", share_open(), "trees", least=1.0),
        Check("walks in one direction are followed from the start: share answered", mean_held_out(name="open", last=0), "trees", least=0.3),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(0.0, 1.0), max_tokens=LOOKS.max_tokens, temperature=0.0),
)

ONE_SIDED = replace(
    TWO_SIDED,
    name="websailor-open",
    consequence="keeps how often questions with one side are answered within 0.02 of training on those alone",
    measure=held_out(name="open"),
    threshold=-0.02,
    refuted_if="the interval of the paired difference lies below -0.02",
)


# ------------------------------------------------------------------------------------------------ tools under management

TOOLS = Graphs()
FAULTS = Faulty(TOOLS, lost=0.15, stale=0.05, wrong=0.03)
WORLDS: dict[str, World] = {
    "clean": TOOLS,
    "raw": FAULTS,
    "managed": Managed(FAULTS, retries=2, cache=(GET.name,), backup=replace(FAULTS, lost=0.0, salt="second")),
    "retries": Managed(FAULTS, retries=2),
    "cache": Managed(FAULTS, retries=0, cache=(GET.name,)),
    "sure": Managed(FAULTS, retries=0, cache=(GET.name,), backup=TOOLS),
}
"""Where the same solver is tried. The backup of `managed` is as stale and as wrong as the tools it stands in for; that of `sure` is not."""
TURNS = 40
"""Actions of a solver."""


async def tried(task: Task, world: World, key: str, again: bool = False) -> tuple[str, Counter[str]]:
    """right, wrong, lost or unanswered, and what was counted on the way. The solver follows the walk by what it was told, and forgets all
    of it where nothing fits. With `again` it goes on by itself where a tool was lost."""
    state, walk, known, counts = world.start(task, Seat(key, key, TURNS)), read(task.prompt), dict[str, list[str]](), Counter[str]()
    for _ in range(TURNS):
        does = solved(walk, known)
        if does == "=":
            known.clear()
            does = solved(walk, known)
        if does[0] == "=":
            return "right" if does[1:] == task.needs["answer"] else "wrong", counts
        state, reply = await world.reply(state, Said("", (Call(GET.name, {"of": does}),)), {})
        counts.update(reply.facts.get("counts", {}))
        if reply.stop != "error":
            known[looked(does)] = [] if reply.observation == NONE else [*reply.observation]
        elif not again:
            return "lost", counts
    return "unanswered", counts


def solved_in(task: Task, name: str, again: bool = False) -> tuple[str, Counter[str]]:
    """What becomes of a question in one of these worlds; its faults are the same whenever it is asked."""
    return asyncio.run(tried(task, WORLDS[name], f"{task.id}/faults", again))


@part(gives="curve")
def recovered(trace: Trace, *, under: str, again: bool = False) -> Curve:
    """Of the questions that faults cost, the share that is answered all the same: (under - raw) / (clean - raw), of all so far."""
    right, curve = Counter[str](), Curve()
    for spent, tasks in tasks_of(trace):
        for task in tasks:
            for name in ("clean", "raw"):
                right[name] += solved_in(task, name)[0] == "right"
            right["under"] += solved_in(task, under, again)[0] == "right"
        curve.append((spent, (right["under"] - right["raw"]) / max(right["clean"] - right["raw"], 1)))
    return curve


@part(gives="number")
def share_of(trace: Trace, *, under: str, end: str) -> float:
    """Of the questions, how many ended so."""
    return fmean(solved_in(task, under)[0] == end for _, tasks in tasks_of(trace) for task in tasks)


@part(gives="number")
def cost(trace: Trace) -> float:
    """Of the questions, how many fewer are answered where tools fail."""
    return share_of(under="clean", end="right").on({"trace": trace}) - share_of(under="raw", end="right").on({"trace": trace})


@part(gives="number")
def a_question(trace: Trace, *, under: str, what: str) -> float:
    """How often something was counted, by question."""
    return fmean(solved_in(task, under)[1][what] for _, tasks in tasks_of(trace) for task in tasks)


ASKED = Method(
    "graphs-asked",
    feed=Demos(text="episode"),
    sampler=replace(LOOKS, n=1, turns=64),
    credit=(),
    signals={},
    update=Still(),
    tasks=25,
)
"""The expert plays every question as it is asked, and nothing is learned."""

MANAGED = Claim(
    "websailor-managed",
    mechanism="Asking again what was lost, keeping what was read, and a second source as stale and as wrong as the first",
    consequence="saves half or more of the questions that faulty tools cost a scripted solver",
    regime="on walks of four to seven steps, where of a hundred answers 15 are lost, 5 are stale and 3 are wrong",
    method="websailor",
    recipe=Recipe(task="graphs:blur=1", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("managed", ASKED, reads=recovered(under="managed")),
        Arm("raw", ASKED, control="nobody asks again: what is lost ends the episode", reads=recovered(under="raw")),
        Arm("retries", ASKED, control="asked again, and nothing is kept", reads=recovered(under="retries")),
        Arm("cache", ASKED, control="what was read is kept, and nothing is asked again", reads=recovered(under="cache")),
        Arm("backup", ASKED, control="a second source without faults, asked at once", reads=recovered(under="sure")),
        Arm("itself", ASKED, control="nobody manages: the solver goes on where a tool was lost", reads=recovered(under="raw", again=True)),
    ),
    compare=("managed", "raw"),
    measure=recovered(under="managed"),
    threshold=0.5,
    pilot=(0.6281, 0.6929, 0.6144),
    refuted_if="the interval of the paired difference lies below 0.5",
    profiles={"quick": Profile((0, 1), "400 calls", 1), "full": Profile(tuple(range(8)), "2600 calls", 2)},
    checks=(
        Check("faults cost: share of the questions", cost(), "raw", least=0.03),
        Check(
            "not all of it is loss: share answered wrongly under management",
            share_of(under="managed", end="wrong"),
            "managed",
            0.01,
        ),
        Check("tools are asked again: times a question", a_question(under="managed", what="retried"), "managed", least=0.1),
        Check("what was kept is told again: times a question", a_question(under="managed", what="cached"), "managed", least=0.01),
        Check("its world can be played: share answered without faults", share_of(under="clean", end="right"), "managed", least=0.9),
    ),
    pitfalls="A tool that is lost ends an episode here as strop's fault, so most of what faults cost can be had again by asking again, "
    "nearly by arithmetic: of three tries all are lost once in three hundred. What is found out is what stale and wrong answers leave of "
    "it, which no manager notices. Keeping answers keeps these too: a solver who begins again where nothing fits is told the same once "
    "more, so `retries` alone is the better one here, and a cache is worth what its calls cost. `itself` shows what an agent does who "
    "sees the loss as an answer and spends a turn on it.",
)
