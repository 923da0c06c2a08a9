"""The exams of parts with behaviour, from gates to worlds. A scripted policy writes; nothing is learned."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any, Literal, cast

from strop import own
from strop.check.finding import DEADLINE, Finding, called, generators, guarded, held
from strop.check.parts import NOISE
from strop.check.worlds import random_world
from strop.grading import judged
from strop.method import Method
from strop.records import Author, Fate, Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle, Progress
from strop.seams.curriculum import picked
from strop.seams.engine import Counters, Node
from strop.seams.engine import called as path_of
from strop.seams.episode import Episodes
from strop.seams.gate import Seen, is_whole
from strop.seams.mark import WRITTEN, marked
from strop.seams.sampler import Independent
from strop.seams.source import Graded
from strop.seams.window import Append
from strop.seams.world import Broken, Call, Reply, Said, Seat, Tool, replied, world_of
from strop.tasks import DEFAULT_TASK
from strop.tasks import source as named

SECONDS = 5.0
VOCABULARY, END = 20, 0


def of_behaviour(method: Method, everything: bool = False, source: Any = None) -> Iterator[Finding]:
    """The method's own gates, curriculum, feed, sampler, marks, graders and world; marks, sampler and world are shown a task of the source,
    or of the default one."""
    task = (named(DEFAULT_TASK) if source is None else source).task("train", 0, 0)
    exams: list[tuple[str, Any, Any]] = [(f"gate[{i}]", gate, _gate) for i, gate in enumerate(method.gate)]
    exams += [(f"roles.{name}.gate[{i}]", gate, _gate) for name, role in method.roles.items() for i, gate in enumerate(role.gate)]
    exams += [("curriculum", method.curriculum, partial(_curriculum, given=source)), ("feed", method.feed, _feed)]
    exams += [("memory", method.memory, _memory)] if method.memory is not None else []
    exams += [("sampler", method.sampler, partial(_sampler, task=task, world=_answering(method, source)))]
    exams += [(f"marks[{i}]", mark, partial(_mark, task=task)) for i, mark in enumerate(method.marks)]
    exams += [(f"graders[{i}]", grader, _grader) for i, grader in enumerate(method.graders)]
    if hasattr(window := getattr(method.sampler, "window", None), "next"):
        exams += [("sampler.window", window, partial(_window, task=task))]
    if hasattr(calls := getattr(method.sampler, "calls", None), "read"):
        exams += [("sampler.calls", calls, partial(_calls, task=task))]
    exams += [("environment", method.environment, partial(_world, task=task))] if method.environment is not None else []
    for seam, thing, exam in exams:
        module = (thing.fn if hasattr(thing, "fn") else type(getattr(thing, "reader", thing))).__module__  # a bank is whose its reader is
        if not everything and not own.is_own(module):
            continue
        about = called(seam, thing)
        looked = partial(_faults, about, exam(about, thing, method))
        yield from held(about, looked, KEPT[seam.partition("[")[0].rpartition(".")[2]])


def of_world(world: Any, task: Task) -> list[str]:
    """What is wrong with a world, shown a task of its own."""
    return list(_world(called("environment", world), world, None, task))


def _faults(about: str, says: Iterator[str]) -> Iterator[Finding]:
    return (Finding(about, said, fine=False) for said in says)


KEPT = {
    "gate": "gives fates of the rollouts it was shown, the same twice",
    "curriculum": "its state is plain data and comes back; picking changes nothing and repeats",
    "memory": "a task keeps its id, and its prompt before anything was seen; what it holds follows from what it saw, and comes back",
    "feed": "groups of different ids, the same whatever order requests end in",
    "sampler": "the same whatever order requests end in, within the footprint it declares",
    "marks": "a label or stretches of every text, the same twice",
    "graders": "a score for every rollout, and for every span that it names, the same twice",
    "calls": "what it writes it reads, no text raises, and nothing is read that is no call of a tool",
    "window": "with room enough the rows of Append; none longer than it may be, each action trained once",
    "environment": "its states are values: asked twice, it answers twice the same",
}


def _gate(about: str, gate: Any, method: Method) -> Iterator[str]:
    for seed in range(6):
        world = random_world(seed)
        names = ("lenient", *getattr(gate, "channels", ()))
        given = {
            unit: {**dict.fromkeys(names, value or 0.0), "outcome": float((value or 0) > 0.5)} for unit, value in world.rewards.items()
        }
        scores = Scores(given)
        for groups in [world.groups] if is_whole(gate) else [[group] for group in world.groups]:
            rewards = {r.id: world.rewards[r.id] or 0.0 for group in groups for r in group.rollouts}
            for shown in (rewards, dict.fromkeys(rewards, 1.0), {}):
                seen = Seen(shown, scores, (seed, "gate"))
                asked = partial(gate, groups if is_whole(gate) else groups[0], seen)
                fates = guarded(about, asked, gate)
                if not isinstance(fates, Mapping) or any(not isinstance(f, Fate) for f in cast(Mapping[str, Any], fates).values()):
                    yield f"gives {fates!r}: a gate gives {{rollout id: Fate}}, of those it has an opinion on"
                    return
                if unknown := set(cast(Mapping[str, Any], fates)) - set(shown):
                    yield f"gives a fate to {unknown.pop()!r}, which it was not shown: `seen.rewards` holds those that are still kept"
                    return
                if asked() != fates:
                    yield f"gives other fates the second time: {NOISE}"
                    return


class Numbers:
    """A source whose tasks are their index."""

    name = "numbers"

    def __init__(self, size: int | None):
        self.size = size

    def task(self, split: str, seed: int, index: int) -> Task:
        solution = {"question": f"{split} {index}", "steps": ["a", "b"], "labels": [[1, 1, 1], [0, 1, 1]]}
        return Task(f"{split} {index}", {"chosen": "a number", "rejected": "none", **solution}, self.name)

    def grade(self, task: Task, text: str) -> Graded:
        return Graded({"outcome": 0.0})

    def gold(self, task: Task) -> str | None:
        return "a number"


def _curriculum(about: str, curriculum: Any, method: Method, given: Any = None) -> Iterator[str]:
    sources, refused = [Numbers(12), Numbers(None), *([given] if given is not None else [])], 0
    for source in sources:
        try:
            state = curriculum.init(source)
            if given is not None and source is not given:  # one may ask for tasks of a kind, which the given source has
                curriculum.pick(1, state, Ctx(0, Progress(0, 4), source, {}, grade=None))  # type: ignore[arg-type]
        except ValueError:
            refused += 1  # one that remembers every task refuses a stream
            continue
        rng = random.Random(source.size or 0)
        for step in range(4):
            ctx = Ctx(0, Progress(step, 4), source, {}, grade=None)  # type: ignore[arg-type]
            if (odd := _plain(state)) is not None:
                yield f"its state holds {odd}: a state is plain data (numbers, texts, lists, dicts), since it is committed with each step"
                return
            before, noise = copy.deepcopy(state), generators()
            tasks, after = guarded(about, lambda state=state, ctx=ctx: picked(curriculum, 4, state, ctx), curriculum)
            if state != before:
                yield "pick changes the state it was given: give back another one ({**state, …})"
                return
            again = curriculum.pick(4, json.loads(json.dumps(before)), ctx)
            if (tasks, after) != tuple(again):
                yield NOISE if generators() != noise else "picks other tasks from the same state once it was written down and read again"
                return
            groups, values = _tried(tasks, rng)
            kept = copy.deepcopy(after)
            state = guarded(about, lambda a=after, g=groups, v=values, c=ctx: curriculum.observe(a, g, v, c), curriculum)
            if after != kept:
                yield "observe changes the state it was given: give back another one ({**state, …})"
                return
    if refused == len(sources):
        yield "begins with neither 12 tasks nor an unlimited stream" + (", nor with its own source" if given is not None else "")


def _memory(about: str, memory: Any, method: Method) -> Iterator[str]:
    made, source = [memory.init(0), memory.init(0)], Numbers(6)
    renderer = cast(Any, SimpleNamespace(prompt=lambda text: tuple(text.encode())))
    actor = Handle(cast(Any, Script()), renderer)
    for step in range(6):
        tasks = [source.task("train", 0, (3 * step + i) % 6) for i in range(3)]
        groups, scores = _tried(tasks, random.Random(step))
        for number, state in enumerate(made):
            ctx = Ctx(0, Progress(step, 6), cast(Any, source), {"actor": actor}, grade=None, place="0")  # type: ignore[arg-type]
            told = [guarded(about, partial(memory.read, task, state, ctx, 10**6), memory) for task in tasks]
            if any(one.id != task.id for (one, _), task in zip(told, tasks, strict=True)):
                yield "read gives a task of another id: what stands before a question makes no other task of it"
                return
            shown = [replace(g, rollouts=tuple(replace(r, keys={"read": [*told[i][1]]}) for r in g.rollouts)) for i, g in enumerate(groups)]
            made[number] = guarded(about, partial(memory.observe, state, shown, scores, ctx), memory)
        one, other = (memory.facts(state) for state in made)
        if one != other:
            yield f"holds something else when it sees the same again: {NOISE}"
            return
        said, tensors = memory.save(made[0])
        if (odd := _plain(said)) is not None:
            yield f"save gives {odd}, which stands in a checkpoint"
            return
        made[0] = memory.load(json.loads(json.dumps(said)), tensors)
        if memory.facts(made[0]) != one:
            yield "holds something else once it was written down and read again"
            return
    ctx = Ctx(0, Progress(), cast(Any, source), {"actor": actor}, grade=None, place="0")  # type: ignore[arg-type]
    if memory.read(first := source.task("train", 0, 0), memory.init(0), ctx, 10**6)[0].prompt != first.prompt:
        yield "changes the prompt before it has seen anything"


def _plain(state: Any) -> str | None:
    try:
        return (
            None
            if json.loads(json.dumps(state, allow_nan=False)) == state
            else "what JSON does not give back (tuples, keys that are no text)"
        )
    except (TypeError, ValueError) as error:
        return str(error)


def _tried(tasks: Sequence[Task], rng: random.Random) -> tuple[list[Group], Scores]:
    world = random_world(rng.randrange(1000))
    groups = [Group(task, world.groups[i % len(world.groups)].rollouts, id=task.id) for i, task in enumerate(tasks)]
    return groups, Scores({r.id: {"outcome": rng.choice((0.0, 1.0, None))} for g in groups for r in g.rollouts})


# ------------------------------------------------------------------------------------------------ samplers and worlds


@dataclass
class Script:
    """An engine whose tokens are a function of where they stand. It counts what is kept, and lets requests end in either order."""

    turned: bool = False
    name: str = "actor"
    version: int = 0
    own: bool = True
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    limit: int = 1 << 31
    counters: Counters = field(default_factory=Counters)
    kept: int = 0
    asked: int = 0

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        self.kept += len(tokens)
        return Node(Segment("prompt", tuple(tokens), path_of((ordinal,))), None, (ordinal,), root, 0, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        self.asked += 1
        return self._written(node, node.next(), max, sampling, keep, self.asked)

    async def _written(self, node: Node, path: tuple[int, ...], most: int, sampling: Sampling, keep: bool, number: int) -> Node:
        await asyncio.sleep(1e-4 * ((50 - number) if self.turned else number) if number < 50 else 0)
        rng = random.Random(f"{node.root} {path}")
        tokens: list[int] = []
        while len(tokens) < most and (not tokens or tokens[-1] != END):
            tokens.append(END if rng.random() < 0.1 else rng.randrange(1, VOCABULARY))
        self.kept += len(tokens) * keep
        author = Author(self.name, 0, sampling)
        segment = Segment("action", tuple(tokens), path_of(path), author, tuple(-rng.random() for _ in tokens))
        ended: Literal["finished", "length"] = "finished" if tokens[-1] == END else "length"
        return Node(segment, node, path, node.root, 0, ended, node.length + len(tokens))

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        return self._extended(node, node.next(), tokens, kind)

    async def _extended(self, node: Node, path: tuple[int, ...], tokens: Sequence[int], kind: Literal["observation", "forced"]) -> Node:
        self.kept += len(tokens)
        return Node(Segment(kind, tuple(tokens), path_of(path)), node, path, node.root, 0, None, node.length + len(tokens))

    async def score(self, node: Node) -> tuple[float, ...]:
        return tuple(-random.Random(f"{node.root} {node.path} {i}").random() for i in range(len(node.segment.tokens)))

    def admit(self, footprint: Footprint) -> Any:
        return nullcontext()

    def begin(self, step: int) -> None: ...

    def deliver(self, version: int) -> None: ...


class Letters:
    """A token is a letter."""

    stop: tuple[str, ...] = ()

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        return tuple(1 + ord(letter) % (VOCABULARY - 1) for letter in "".join((text, *more))) or (1,)

    turn = reply = plain = prompt

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(chr(96 + token) for token in tokens if token != END)


def _answering(method: Method, source: Any) -> Any:
    """The world that a sampler is shown: its own, else one that answers the same to everything, where it cannot do without."""
    there = world_of(method.environment, source)
    return Room() if there is None and hasattr(getattr(method.sampler, "window", None), "next") else there


def _sampler(about: str, sampler: Any, method: Method, task: Task, world: Any = None) -> Iterator[str]:
    needed = guarded(about, lambda: sampler.footprint(len(task.prompt)), sampler)
    noise = generators()

    def grown(turned: bool) -> tuple[list[Group], Script]:
        engine = Script(turned)
        ctx = _context(engine, method.policies)
        return guarded(about, lambda: asyncio.run(asyncio.wait_for(sampler(task, world, ctx), SECONDS)), sampler), engine

    groups, engine = grown(turned=False)
    if not isinstance(groups, list) or any(not isinstance(g, Group) for g in cast(list[Any], groups)):
        yield f"gives {groups!r}: a sampler gives a list of groups"
        return
    rollouts = [r for g in groups for r in g.rollouts]
    if not rollouts or len({r.id for r in rollouts}) < len(rollouts):
        yield "gives no rollout, or two of one id: an id is ctx.place and the rollout's number"
        return
    if short := [g for g in groups if len(g.rollouts) < sampler.group_size]:
        yield f"says that its groups hold {sampler.group_size} rollouts, and gives one of {len(short[0].rollouts)}"
    if unlogged := [
        s for r in rollouts for row in r.rows for s in row.segments if s.kind == "action" and (s.logp is None or s.author is None)
    ]:
        yield f"gives the action {unlogged[0].id!r} without author or log-probability: take segments from the engine's nodes (node.row())"
    repeats = getattr(sampler, "repeats", "exact") != "no"
    if repeats and [g.to_json() for g in grown(turned=True)[0]] != [g.to_json() for g in groups]:
        drew = generators() != noise
        yield (
            NOISE
            if drew
            else "gives other rollouts when its requests end in another order: decide by what was asked, not by what came first"
        )
    if engine.kept > needed.positions:
        yield f"keeps {engine.kept} positions and declared a footprint of {needed.positions}: the engine would have no room"


def _context(engine: Script, beside: Iterable[str] = ()) -> Ctx:
    """The scripted policy as the actor, and one more as each policy beside it."""

    async def grade(groups: list[Group]) -> Scores:
        return Scores({r.id: {"outcome": float(len(r.text) % 2)} for g in groups for r in g.rollouts})

    engines = {"actor": engine, **{name: Script(engine.turned, name) for name in beside}}
    policies = {name: Handle(cast(Any, one), cast(Any, Letters())) for name, one in engines.items()}
    return Ctx(0, Progress(0, 4), Numbers(None), policies, grade, place="task#0")


def _feed(about: str, feed: Any, method: Method) -> Iterator[str]:
    if getattr(feed, "ahead", 0):
        return  # engines beside the learner, which are not here
    sampler, noise = Independent(n=2, max_tokens=8), generators()

    def taken(turned: bool) -> list[Group]:
        picked = count()

        def pick(n: int) -> list[Task]:
            return [Numbers(None).task("train", 0, next(picked)) for _ in range(n)]

        there = Room() if hasattr(getattr(method.sampler, "window", None), "next") else None
        took = feed.take(pick, 3, sampler, there, _context(Script(turned), method.policies), Counter())
        return guarded(about, lambda: asyncio.run(asyncio.wait_for(took, SECONDS)), feed)

    groups = taken(turned=False)
    if not isinstance(groups, list) or any(not isinstance(g, Group) for g in cast(list[Any], groups)):
        yield f"gives {groups!r}: a feed gives a list of groups"
        return
    ids = [r.id for g in groups for r in g.rollouts]
    if len(set(ids)) < len(ids) or len({g.id for g in groups}) < len(groups):
        yield "gives two groups or rollouts of one id: scores and fates are kept by it"
    if [g.to_json() for g in taken(turned=True)] != [g.to_json() for g in groups]:
        drew = generators() != noise
        yield NOISE if drew else "gives other groups when its requests end in another order: decide by what was asked"


def _world(about: str, world: Any, method: Method | None, task: Task) -> Iterator[str]:
    if getattr(world, "asks", ()):
        return  # its answers are those of a policy, which is not here
    state = guarded(f"{about}: start", lambda: world.start(task, Seat("exam", "exam/0", 4)), world)
    broken = (Broken("no call"), Broken(""))
    patience = max(SECONDS, min(float(getattr(world, "deadline", 0.0)), DEADLINE))
    for turn, said in enumerate((Said("a"), Said("", broken), Said("b" * 2000), Said("<answer>4</answer>"))):
        before = copy.deepcopy(state)

        def answer(state: Any = state, said: Said = said) -> Any:
            return asyncio.run(asyncio.wait_for(replied(world, state, said, {}), patience))

        after, reply = guarded(f"{about}: reply in turn {turn}", answer, world)
        if state != before:
            yield "changes the state it was given: reply gives back the next one, and a fork of a rollout asks the same state again"
            return
        again_after, again = answer() if getattr(world, "repeats", "exact") != "no" else (after, reply)
        if (again_after, again) != (after, reply):
            yield "answers otherwise when the same state is asked again: two rollouts that fork would not be in the same world"
            return
        if hasattr(world, "reply_many") and getattr(world, "repeats", "exact") != "no":

            async def both(state: Any = state, said: Said = said) -> Any:
                return await asyncio.gather(*(replied(world, state, one, {}) for one in (said, Said("beside"))))

            if guarded(f"{about}: reply_many in turn {turn}", lambda: asyncio.run(asyncio.wait_for(both(), patience)), world)[0] != (
                after,
                reply,
            ):
                yield "answers otherwise where another is asked beside it: what reply_many says of one is what reply says of it alone"
                return
        state = after


@dataclass(frozen=True)
class Room:
    """A world that answers the same to everything."""

    says: str = "abcdefgh"

    def start(self, task: Task, seat: Seat) -> int:
        return 0

    async def reply(self, state: int, said: Said, ask: Mapping[str, Handle]) -> tuple[int, Reply]:
        return state + 1, Reply(self.says)

    def expert(self, state: int) -> str:
        return "a"


def _window(about: str, window: Any, method: Method, task: Task) -> Iterator[str]:
    how = Episodes(n=2, turns=6, max_tokens=5, observation=9)
    room = len(task.prompt) + 6 * (how.max_tokens + how.observation)

    def lived(window: Any, most: int) -> Group:
        engine = Script()
        engine.limit = most
        ctx = _context(engine, method.policies)
        sampler = replace(how, window=replace(window, limit=0) if hasattr(window, "limit") else window)
        return guarded(about, lambda: asyncio.run(asyncio.wait_for(sampler(task, Room(), ctx), SECONDS))[0], window)

    if not getattr(window, "afresh", False) and lived(window, 8 * room) != lived(Append(), 8 * room):
        yield "with room enough it gives other rows than Append(): what changes nothing in what is seen leaves the row as it is"
        return
    for most in (room // 3, room // 2, room - 1):
        group = lived(window, most)
        for rollout in group.rollouts:
            if longest := [len(row.tokens) for row in rollout.rows if len(row.tokens) > most]:
                yield f"writes a row of {longest[0]} tokens where {most} are the most that the model takes"
                return
            written = [s.id for row in rollout.rows for s in row.segments if s.kind == "action" and s.id in row.trains]
            said = {s.id for row in rollout.rows for s in row.segments if s.kind == "action"}
            if len(set(written)) < len(written) or set(written) != said:
                yield "trains an action twice, or one never: each is trained in the row that it was written in"
                return


TOOL = Tool("get", "One.", {"properties": {"key": {"type": "string"}}, "required": ["key"], "additionalProperties": False})


def _calls(about: str, calls: Any, method: Method, task: Task) -> Iterator[str]:
    if not isinstance(shown := guarded(about, lambda: calls.shown((TOOL,)), calls), str):
        yield f"shows its tools as a {type(shown).__name__}: the first message is a text"
        return
    call = Call("get", {"key": "a"})
    text = guarded(about, lambda: calls.written(call), calls)
    texts = (text, f"first\n{text}\nlast", "", text[: len(text) // 2], text * 40, text.replace("a", "\ud800"), "é\n\n\u200b", "b" * 5000)
    found = [guarded(f"{about}: read of {said[:40]!r}", lambda said=said: calls.read(said, (TOOL,)), calls) for said in texts]
    if any(not isinstance(one, Call | Broken) for read in found for one in read):
        yield "reads something else than calls and broken ones: (Call(…), Broken(why), …)"
    elif tuple(found[0]) != (call,) or tuple(found[1]) != (call,):
        yield f"reads {list(found[0])} off {text[:60]!r}, which it wrote for {call}"
    elif any(isinstance(one, Call) and (one.tool != "get" or [*one.arguments] != ["key"]) for read in found for one in read):
        yield "reads a call that is none of a tool's: `strop.worlds.calls.checked` holds one to its schema"


def _mark(about: str, mark: Any, method: Method, task: Task) -> Iterator[str]:
    texts = (" ", task.prompt, "<answer>4</answer>", "<think>2+2=4</think><answer>4</answer>", "<answer>" * 3, "é\n\n\u200b", "b" * 5000)
    letters, noise = Letters(), generators()
    made = [Segment("action", tuple(range(1, 1 + len(text) % 19)), "0.0", Author("actor", 0)) for text in texts]
    rollouts = tuple(Rollout((Row.of(Segment("prompt", (1,), "0"), s),), str(i), text=texts[i]) for i, s in enumerate(made))
    group = Group(task, rollouts)
    (given,) = marked((mark,), [group], letters)
    if why := next((f"{why}, of the text {r.text[:40]!r}" for r in given.rollouts for why in r.keys.get("unmarked", {}).values()), None):
        yield why
    elif marked((mark,), [group], letters) != [given]:
        yield NOISE if generators() != noise else "marks the same text otherwise the second time"


ELSEWHERE = "what it asks of a policy"


class Elsewhere(dict[str, Handle]):
    """Policies that are not here."""

    def __missing__(self, name: str) -> Handle:
        raise NotImplementedError(ELSEWHERE)


def _written(group: Group) -> Group:
    """With the text that each rollout's segments write."""

    def text(rollout: Rollout) -> str:
        own = {s.id: s.tokens for row in rollout.rows for s in row.segments if s.kind in WRITTEN}
        return "".join(map(Letters().text, own.values()))

    return replace(group, rollouts=tuple(replace(r, text=text(r)) for r in group.rollouts))


def _grader(about: str, grader: Any, method: Method) -> Iterator[str]:
    groups = marked(method.marks, [_written(group) for group in random_world(3).groups], cast(Any, Letters()))

    def evaluate(groups: list[Group], scorer: str, want: frozenset[str]) -> Any:
        raise NotImplementedError(ELSEWHERE)

    ctx = Ctx(0, Progress(0, 4), Numbers(None), Elsewhere(), grade=None, evaluate=evaluate)  # type: ignore[arg-type]
    noise = generators()
    given: Scores = asyncio.run(judged((grader,), groups, ctx, SECONDS))
    if why := next((i.why for i in given.incidents), None):
        if ELSEWHERE in why:
            return  # its numbers are those of a policy, which is not here
        yield why
        return
    if asyncio.run(judged((grader,), groups, ctx, SECONDS)) != given:
        yield NOISE if generators() != noise else "gives other scores the second time"
