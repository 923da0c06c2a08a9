"""The loop: everything a step touches, and the steps one after another.

Weights at step n are a function of the last checkpoint and the groups committed since: resuming computes those updates again, and
replaying does the same with the groups of another run. Two runs are equal when their metrics lines are, outside `t`, where the clocks are.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from strop import directory as folder
from strop import durable, engines, grading, sense, train
from strop.batch import Batch, pack
from strop.bill import Bill, spend
from strop.directory import Recording, RunError, commit_path
from strop.learners.local import Local
from strop.method import Method
from strop.metrics import ages, by_role, drawn, mean_known
from strop.others import moving, others
from strop.policies.causal import of
from strop.program import When
from strop.pupil import ACTOR, Pupil
from strop.recipe import Recipe
from strop.records import UNSCORED, Fate, Group, Scores, Task, canonical
from strop.seams.context import Ctx, Handle, Ledger, Progress
from strop.seams.curriculum import picked
from strop.seams.engine import Engine
from strop.seams.exchange import FOREIGN, Exchange
from strop.seams.feed import Recorded
from strop.seams.flight import Flight
from strop.seams.grader import SCORERS
from strop.seams.learner import Learner
from strop.seams.mark import labelled, marked
from strop.seams.part import nearest
from strop.seams.policy import Policy, equip
from strop.seams.recorded import OWN
from strop.seams.sampler import Grows
from strop.seams.signal import KINDS
from strop.seams.source import Source
from strop.seams.window import Append
from strop.seams.world import calls, world_of
from strop.tasks import source as named_source
from strop.tasks.shots import show
from strop.watch.watch import Watch

if TYPE_CHECKING:
    from strop.train import Lesson


@dataclass(frozen=True)
class Begun:
    """What goes on where a run is a stage of a program: what the stages before it left. It stands in the run's recipe.json."""

    number: int = 0
    """Steps of the stages before: noise goes on from them."""
    bill: Mapping[str, int] = field(default_factory=dict[str, int])
    """What they spent."""
    learned: Mapping[str, int] = field(default_factory=dict[str, int])
    """The learner's part of that."""
    ledger: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How often each task was tried and solved."""
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of parts that the stage keeps."""
    stages: Mapping[str, str] = field(default_factory=dict[str, str])
    """Directories of the stages before, by name, beside this one."""
    optimiser: str = ""
    """The checkpoint whose optimiser goes on."""
    reference: str = ""
    """The model that stays the reference; empty: the weights the stage begins with."""
    model: str = ""
    """The checkpoint it begins with, from the program's directory; empty: the recipe's model."""
    policies: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is left of policies that are trained beside the actor, by name, from the program's directory."""
    counted: bool = False
    """It ends by a number of steps, which its progress goes by; the budget is a bound."""


SAME_WEIGHTS = 0.05
"""Nats a decision: an engine and the learner on the same weights differ by 1e-4 or less, two models by far more."""


class Run:
    """Everything a step touches. `run.train()` takes it from where it stands to its last step."""

    def __init__(
        self,
        recipe: Recipe,
        directory: Path,
        policy: Policy | None = None,
        source: Source | None = None,
        engine: Callable[[Any, Recipe], Engine] | None = None,
        recording: Recording | None = None,
        exchange: Exchange | None = None,
        learner: Callable[[Any, Method, Recipe], Learner] = Local,
        past: tuple[tuple[int, Recipe], ...] = (),
        begun: Begun | None = None,
        ends: When | None = None,
        policies: Mapping[str, Policy] | None = None,
    ):
        self.recipe, self.directory, self.recording = recipe, directory, recording
        self.lock: durable.Lock | None = None
        """Held by a run that writes to its directory."""
        self.past = past
        """(until which step, what it then was) of a recipe that was made longer on the way, the oldest first."""
        self.begun, self.ends = begun or Begun(), ends
        """What it goes on from, as a stage of a program, and what says that it is done."""
        self.foreign = recording is not None and recording.foreign
        self.method = recipe.resolved()
        drawn = source if source is not None else named_source(recipe.task_name())
        sense.together(self.method, here=recipe.engine == "embedded" and learner is Local)
        actor: Policy = policy if policy is not None else of(recipe)
        if policy is not None and self.begun.model:  # one that was handed over is not what a path says
            policy.restore(directory.parent / self.begun.model)
        show(actor.renderer, drawn, recipe.shots)
        self.source = roomy(drawn, actor, getattr(self.method.sampler, "max_tokens", 1), recipe.longest_prompt)
        positions: int | None = getattr(actor, "positions", None)
        if hasattr(self.source, "whole") and isinstance(getattr(self.method.sampler, "window", None), Append) and positions:
            told: Any = self.source
            self.source = told.whole(lambda text: len(actor.renderer.prompt(text)), positions)
        self.world = world_of(self.method.environment, drawn)
        """What answers the policy between turns, where something does."""
        sense.called(self.method, self.world)
        given = None if policy is None and policies is None else policies or {}
        root, stages, left = directory.parent, self.begun.stages, self.begun.policies
        trained = {ACTOR: actor, **moving(self.method.trained, actor, recipe, root, stages, left, given)}
        for one in trained.values():
            equip(one, self.method.heads, recipe.seed)
        self.feed = self.method.feed
        self.exchange = exchange
        """With other trainers, where this one shares its groups."""
        self.swarm: dict[str, Any] | None = None
        """What was counted of them up to this step, as it was committed."""
        self.state: dict[str, Any] = {"curriculum": self.method.curriculum.init(self.source), **self.begun.state}
        self.ledger = Ledger(**self.begun.ledger)
        self.known = UNSCORED
        """What was graded in this step, or was known of what a feed gave."""
        self.asked: set[str] = set()
        """Ids of the groups that somebody was asked about in this step."""
        self.made: dict[str, Any] = {}
        self.memory = self.method.memory
        self.held: Any = None if self.memory is None else self.memory.init(recipe.seed)
        """What its memory holds."""
        self.step, self.version = 0, 0
        self.own_commits: list[tuple[list[Group], Scores]] = []
        """What earlier steps of this run committed, where a feed asked for it."""
        engines_of = {name: (engine or engines.build)(one, recipe) for name, one in trained.items()}
        for name, made in engines_of.items():
            if name != ACTOR:
                made.name = name
        sense.together(self.method, here=not isinstance(engines_of[ACTOR], Grows))
        asked = others(self.method.policies, actor, recipe, root, stages)
        beside = {name: engines_of[name] if name in engines_of else asked[name].engine for name in self.method.policies}
        self.bill = Bill(engines_of[ACTOR], beside)
        self.bill.restore(self.begun.bill, self.begun.learned)
        ahead = getattr(self.feed, "ahead", 0)
        self.flight = Flight() if ahead else None
        same = recipe.dtype == "float32"  # an engine draws with the float32 weights
        self.own = engines_of[ACTOR].own and same and not self.foreign and not ahead
        """What was recorded while sampling is this learner's log-probability; else it is measured, and a correction bridges the two."""
        if not self.own:
            self.method = self.method.off_policy()
        self.digest_groups = ""
        self.replayed: dict[str, Any] | None = None
        self.pupils: dict[str, Pupil] = {}
        """Who learns: the actor, then the policies that are trained beside it, in the method's order."""
        for name, one in trained.items():
            self.pupils[name] = Pupil(self, name, one, engines_of[name], self._learning(name, one, learner))
        self.actor = self.pupils[ACTOR]
        self.others = {name: self.pupils[name].handle if name in self.pupils else asked[name] for name in self.method.policies}
        """Handles of the policies beside the actor."""
        self.clock: dict[str, float] = {}
        self._mark = time.perf_counter()

    def _learning(self, name: str, policy: Policy, make: Callable[..., Learner]) -> Learner:
        """A policy's learner, with the reference and the optimiser of an earlier stage where they are kept."""
        kept: dict[str, Any] = {} if name == ACTOR else {"update": self.method.updates[name]}
        if self.begun.reference and self.method.reference:
            there = self.directory.parent / self.begun.reference
            first = of(self.recipe.but(model=str(there) if there.exists() else self.begun.reference))
            kept["reference"] = first.frozen("reference")
        learner = make(policy, self.method, self.recipe, **kept)
        left = self.begun.optimiser if name == ACTOR else self.begun.policies.get(name, "")
        if self.begun.optimiser and left:
            learner.restore(self.directory.parent / left)
        return learner

    # The actor's, which is what a run is asked for.

    @property
    def policy(self) -> Policy:
        return self.actor.policy

    @property
    def engine(self) -> Engine:
        return self.actor.engine

    @property
    def handle(self) -> Handle:
        return self.actor.handle

    @property
    def learner(self) -> Learner:
        return self.actor.learner

    @property
    def watch(self) -> Watch:
        return self.actor.watch

    @property
    def number(self) -> int:
        """Of the step, counted from the program's first: noise goes by it."""
        return self.begun.number + self.step

    # What the step asks for, in the order it asks.

    def context(self) -> Ctx:
        progress = Progress(self.step, self.then.steps, None if self.begun.counted else self.spent, self.begun.number)
        return Ctx(
            self.recipe.seed,
            progress,
            self.source,
            {"actor": self.handle, **self.others},
            self.verdict,
            self.ledger,
            evaluate=self.evaluate,
            flight=self.flight,
            exchange=self.exchange,
            earlier=self.earlier,
            graded=self.recall,
            remind=None if self.memory is None else self.remind,
            made=self.made,
        )

    def remind(self, task: Task, ctx: Ctx, room: int) -> tuple[Task, tuple[int, ...]]:
        """A task as it is asked, with what its memory puts before the question."""
        assert self.memory is not None
        return self.memory.read(task, self.held, ctx, room)

    def recall(self, scores: Scores) -> None:
        """Scores that are known already: nobody is asked for them."""
        self.known |= scores

    def earlier(self, stage: str, every: bool = False) -> tuple[list[Group], Scores]:
        """What an earlier stage committed, or every one of this name; or this run, in its steps so far."""
        if stage == OWN:
            return self.own_steps()
        if stage not in self.begun.stages:
            raise RunError(f"{self.directory} has no stage {stage!r} before it. {nearest(stage, self.begun.stages)}")
        places = (
            [place for place in self.begun.stages.values() if place.partition("-")[2] == stage] if every else [self.begun.stages[stage]]
        )
        return folder.sampled(*(self.directory.parent / place for place in dict.fromkeys(places)))

    def own_steps(self) -> tuple[list[Group], Scores]:
        """What its steps before this one committed, each read once."""
        for step in range(len(self.own_commits), self.step):
            if (record := folder.read_commit(self.directory, step)) is None:
                raise RunError(f"{self.commit_path(step)} is gone, and this run learns from what its earlier steps sampled. Put it back.")
            self.own_commits.append(folder.as_earlier(record))
        groups = [group for made, _ in self.own_commits for group in made]
        values = {unit: channels for _, known in self.own_commits for unit, channels in known.values.items()}
        return groups, Scores(values)

    def pick(self, n: int) -> list[Task]:
        tasks, self.state["curriculum"] = picked(self.method.curriculum, n, self.state["curriculum"], self.context())
        return tasks

    def mark(self, groups: list[Group]) -> list[Group]:
        """With what the method's marks say of each reply; what this run committed says it already."""
        if self.replayed is not None and not self.foreign:
            return groups
        whose = (self.pupils[self.method.trains(g)].policy.renderer for g in groups)
        return [one for g, reads in zip(groups, whose, strict=True) for one in marked(self.method.marks, [g], reads)]

    async def grade(self, groups: list[Group]) -> Scores:
        """Scores of a round of sampling, and what the tripwires see in them all together, whoever asked first."""
        scores = await self.verdict(groups)
        if new := [g for g in groups if g.id in self.asked]:
            for one in self.pupils.values():
                one.watch.sampled(one.taught(new))
            await self.watch.graded(new, scores.of(new))
        return scores

    async def verdict(self, groups: list[Group]) -> Scores:
        """Scores of groups, for a sampler or a feed that must know before the step does: what was graded once is not graded again."""
        self.lap("sample")
        if any("labels" not in r.keys for g in groups for r in g.rollouts):  # asked within a step, by a sampler or a feed
            groups = self.mark(groups)
        if self.replayed is not None:
            return labelled(Scores.from_json(self.replayed["scores"]), groups)
        if new := [g for g in groups if any(r.id not in self.known.values for r in g.rollouts)]:
            told = self.engine.graded(new) if isinstance(self.engine, Grows) else {}  # where they grew, a sampler may have asked
            scores = await grading.grade(self.source, [g for g in new if g.id not in told])
            for said in told.values():
                scores |= said
            scores |= await grading.judged(self.method.graders, new, self.context())
            self.known |= scores | labelled(UNSCORED, new)
            self.asked |= {g.id for g in new}
        self.known = labelled(self.known, groups)
        self.lap("grade")
        return self.known.of(groups)

    def evaluate(self, groups: list[Group], scorer: str, want: frozenset[str]) -> Batch:
        """These groups with tracks of all their decisions, each under the weights of the policy that it trains, without gradient."""
        whose = [self.pupils[self.method.trains(g)] for g in groups]
        heard = [one.taught([g])[0] for one, g in zip(whose, groups, strict=True)]
        batch = pack(heard, {}, {r.id: None for g in groups for r in g.rollouts}, self.version)
        group_T = batch.index.up("token", "group")
        tracks: dict[str, Tensor] = {}
        for one in self.pupils.values():
            mine_T = batch.of_kinds(KINDS) & torch.tensor([each is one for each in whose], dtype=torch.bool)[group_T]
            found, count = one.learner.evaluate(batch, want, scorer, mine_T)
            self.bill.scored[one.before + ("scored" if scorer == "online" else f"{SCORERS[scorer]}/scored")] += count
            tracks |= {name: track.where(~track.isnan(), tracks[name]) if name in tracks else track for name, track in found.items()}
        return batch.with_(**tracks)

    def observe(self, groups: list[Group], scores: Scores) -> None:
        self.state["curriculum"] = self.method.curriculum.observe(self.state["curriculum"], groups, scores, self.context())
        self.ledger = self.ledger.after(groups, scores, self.number)

    def commit(self, groups: list[Group], scores: Scores, fates: Mapping[str, Fate], rewards: Mapping[str, float | None]) -> None:
        """On disk, all of it or nothing. What an earlier life committed is there already. A memory observes it once, however many rounds of
        sampling it took: a step that is read back has one."""
        if self.memory is not None:
            self.held = self.memory.observe(self.held, groups, scores, self.context())
        record: dict[str, Any] = {
            "groups": [g.to_json() for g in groups],
            "scores": scores.to_json(),
            "fates": {unit: fate.to_json() for unit, fate in fates.items()},
            "rewards": dict(rewards),
        }
        body = _kept("what was sampled", record)
        self.digest_groups = folder.digest_of(body)
        if self.replayed is not None:
            self.state, self.ledger = self.replayed["state"], Ledger(**self.replayed["ledger"])
            self.bill.restore(self.replayed["bill"])
            self.swarm = self.replayed.get("swarm")
        else:
            if made := sum(len(calls(rollout)) for group in groups for rollout in group.rollouts):
                self.bill.scored["calls"] += made
            self.bill.commit()
            if self.flight is not None:
                self.state["feed"], self.flight.stale = self.flight.to_json(), []
            if self.exchange is not None:
                self.exchange.publish(groups, scores, self.step, self.source, self.policy.renderer)
                self.swarm = self.exchange.tally()
        path = self.commit_path(self.step)
        if not path.exists():
            after = {"step": self.step, "version": self.version, "state": self.state}
            after |= {"bill": self.bill.total, "ledger": asdict(self.ledger)}
            after |= {"swarm": self.swarm} if self.swarm is not None else {}
            data = body[:-1] + "," + _kept("the state of a part (a curriculum's, a feed's)", after)[1:]
            durable.write(path, gzip.compress(data.encode(), 1, mtime=0))
        if self.exchange is not None:
            self.exchange.flush()  # only what is committed: nobody is sent two groups of one step
        self.lap("commit")

    def check_drew(self, batch: Batch, logp_T: Tensor) -> None:
        """Weights that give recorded tokens other log-probabilities than they were drawn with did not draw them."""
        gap_T = (logp_T - batch.tracks["sampled_logp_T"])[batch.trained_T].abs()
        gap_T = gap_T[gap_T.isfinite()]
        if len(gap_T) and gap_T.mean() > SAME_WEIGHTS:
            raise RunError(
                f"step {self.step}: the recorded tokens' log-probabilities are {gap_T.mean():.2g} off on average, so these weights did "
                f"not draw them: {self.recipe.model!r} is not the model that the run started from. Put that model back in its place."
            )

    def deliver(self) -> None:
        self.version += 1
        for one in self.pupils.values():
            one.deliver(self.version)
        self.lap("learn")

    def report(
        self,
        groups: list[Group],
        scores: Scores,
        fates: Mapping[str, Fate],
        rewards: Mapping[str, float | None],
        lessons: Sequence[Lesson],
    ) -> dict[str, Any]:
        """The metrics line. Everything outside `t` is the same whenever and however often this step is computed."""
        tried = [g for g in groups if g.role == "solve"]
        (actor, batch, facts), *rest = lessons
        moved = actor.moved(batch, facts)
        beside = {one.name: one.beside(groups, rewards, seen, said) for one, seen, said in rest}
        line: dict[str, Any] = {
            "step": self.step,
            "version": self.version,
            "fingerprint": self.method.fingerprint,
            **drawn(self.method, tried, scores, rewards, fates),
            **moved,
            "bill": dict(self.bill.total),
        }
        line["digest"]["groups"] = self.digest_groups
        warned = {f"{name}/{wire}": said for name, one in beside.items() for wire, said in one.pop("warnings", {}).items()}
        if beside:
            line["policies"] = beside
        if self.memory is not None:
            line["memory"] = self.memory.facts(self.held)
        if self.method.roles:
            line["roles"] = by_role(self.method, groups, rewards, fates)
        if self.flight is not None:
            line |= {"age": ages(batch), "stale": self.state["feed"]["stale"]}
            line["taken"] = [[mean_known(float(r.length) for r in g.rollouts), scores.rate(g)] for g in groups]
        theirs = [g for g in groups if g.role == FOREIGN]
        if theirs or self.swarm is not None:
            reward = mean_known(rewards[r.id] for g in theirs for r in g.rollouts)
            line["swarm"] = {"own": len(tried), "foreign": len(theirs), "reward": reward, **(self.swarm or {})}
        line = self.watch.close(line, tried, scores)
        if warned:
            line["warnings"] = line.get("warnings", {}) | warned
        self.step += 1
        return line

    @property
    def grade_of_bits(self) -> str:
        """`exact`: the same bits whatever the schedule. `logged`: the same given its own commits. `statistical`: neither."""
        once = self.flight is not None or "no" in (getattr(part, "repeats", "exact") for part in (self.world, self.method.sampler))
        return "logged" if once else getattr(self.engine, "grade", "unknown")

    @property
    def then(self) -> Recipe:
        """The recipe as it was when this step was first made."""
        return next((recipe for until, recipe in self.past if self.step < until), self.recipe)

    @property
    def spent(self) -> float | None:
        """The share of the recipe's budget that is spent, in positions; None without one. Discarded work is spent too. A stage's budget
        says where the program's bill will stand at its end; its share is of what it has itself."""
        if self.then.budget is None:
            return None
        count, unit = self.then.budget_in_positions
        before = spend(self.begun.bill, unit)
        return (self.bill.spent(unit) - before) / (count - before) if count > before else 1.0

    @property
    def finished(self) -> bool:
        over = self.step >= self.until or (self.spent is not None and self.spent >= 1)
        return over or (self.ends is not None and self.ends.done(self.watch.lines))

    # Its life.

    def train(self, show: Callable[[dict[str, Any]], None] | None = None) -> None:
        """From here to the end. A step that is recorded already is computed from its record."""
        while not self.finished:
            started = time.perf_counter()
            line = self.advance()
            clock: dict[str, float] = {"seconds": time.perf_counter() - started, **self.clock}
            line["t"] = {name: round(value, 4) for name, value in clock.items()} | {
                "at": time.time(),
                "replayed": self.replayed is not None,
            }
            if took := getattr(self.world, "took", dict)():
                line["t"]["tools"] = {name: {"median": median(each), "most": max(each)} for name, each in sorted(took.items())}
            durable.append(self.directory / "metrics.jsonl", canonical(line))
            if self.step % self.recipe.checkpoint_every == 0 or self.finished:
                self.checkpoint()
            if show is not None:
                show(line)

    def advance(self) -> dict[str, Any]:
        """One step, and its line."""
        self._mark, self.clock, self.known, self.asked = time.perf_counter(), {}, UNSCORED, set()
        self.replayed = self.record(self.step)
        self.feed = self.method.feed if self.replayed is None else Recorded(tuple(Group.from_json(g) for g in self.replayed["groups"]))
        if self.replayed is None and self.flight is not None and not len(self.flight) and "feed" in self.state:
            self.flight.restore(self.state["feed"])  # what an earlier life had asked for
        try:
            return asyncio.run(train.step(self))
        except FloatingPointError as error:
            self.watch.broken(str(error))

    @property
    def until(self) -> int:
        """The last step: the recipe's, or where the recording ends."""
        return self.recipe.steps if self.recording is None else min(self.recipe.steps, self.recording.steps)

    def record(self, step: int | None = None) -> dict[str, Any] | None:
        """What a step committed, in an earlier life of this run or in the run that it replays: nothing is sampled or graded twice."""
        number = self.step if step is None else step
        places = [self.directory, *([self.recording.directory] if self.recording else [])]
        for place in places:
            if (found := folder.read_commit(place, number)) is not None:
                return found
        if self.recording is not None:
            raise RunError(f"{self.recording.directory} no longer holds step {number}, which {self.directory} replays. Put it back.")
        return None

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.clock[phase] = self.clock.get(phase, 0.0) + now - self._mark
        self._mark = now

    def commit_path(self, step: int) -> Path:
        return commit_path(self.directory, step)

    def past_swarm(self) -> dict[str, Any] | None:
        """What an earlier life of this run had counted of other trainers when it last committed."""
        done = folder.recorded_steps(self.directory)
        record = self.record(done - 1) if done else None
        return None if record is None else record.get("swarm")

    def digest_weights(self, *, heads: bool = True, like: str = "") -> str:
        return self.actor.digest_weights(heads=heads, like=like)

    def digest_optimiser(self, *, like: str = "") -> str:
        return self.actor.digest_optimiser(like=like)

    def checkpoint(self) -> None:
        """What it takes to go on from here."""
        kept = {name: (one.policy, one.learner.state()) for name, one in self.pupils.items()}
        said = {name: self.pupils[name].state(optimiser) for name, (_, optimiser) in kept.items()}
        state = {
            "step": self.step,
            "version": self.version,
            "learned": dict(self.bill.learned),
            "state": self.state,
            "ledger": asdict(self.ledger),
            "bill": self.bill.total,
            "threads": torch.get_num_threads(),
            **said.pop(ACTOR),
            **({"policies": said} if said else {}),
        }
        held = None if self.memory is None else self.memory.save(self.held)
        folder.checkpoint(self.directory, kept.pop(ACTOR), state, kept, held)
        self.lap("checkpoint")

    def restore(self, path: Path) -> None:
        state = json.loads((path / "state.json").read_text())
        for name, one in self.pupils.items():
            one.restore(folder.held(path, name), state if name == ACTOR else state["policies"][name])
        self.step, self.version, self.state, self.ledger = state["step"], state["version"], state["state"], Ledger(**state["ledger"])
        self.bill.restore(state["bill"], state["learned"])
        if self.memory is not None:
            self.held = self.memory.load(*folder.remembered(path))
        for one in self.pupils.values():
            one.engine.deliver(self.version)


def _kept(what: str, value: Any) -> str:
    """As it is committed; what is no plain data is said."""
    try:
        return canonical(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is no plain data (numbers, texts, lists, dicts), so it cannot be kept with the step: {error}") from error


def roomy(source: Source, policy: Policy, reply: int, longest: int | None) -> Source:
    """A source that reads a file, with those of its prompts that the model has room for beside a reply; any other source as it is."""
    fit, positions = getattr(source, "fit", None), getattr(policy, "positions", None)
    if fit is None:
        return source
    room = (positions or 1 << 31) - reply
    if room < 1:
        raise ValueError(f"the model has {positions} positions, so a reply of {reply} leaves none for a prompt. Lower --max-tokens.")
    strict = longest is None or longest > room
    return fit(lambda text: len(policy.renderer.prompt(text)), room if strict else longest, strict)
