"""Run: a recipe that is executed, and its directory. Killed at any instant, it goes on as if it had not been.

    recipe.json      what was asked for, with fingerprints and versions
    metrics.jsonl    one line a step: the source of truth
    groups/          one file a step, written before the update: tokens, log-probabilities, scores, fates, states
    checkpoints/     Hugging Face format, with optimiser, heads and the state of every part, under one hash
    eval/            held-out results before and after

Weights at step n are a function of the last checkpoint and the groups committed since: resuming computes those updates
again, and replaying does the same with the groups of another run. Two runs are equal when their metrics lines are, outside
`t`, where the clocks are.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strop import __version__, durable, engines, grading, train
from strop.batch import Batch, pack
from strop.learners.local import Local
from strop.method import Method
from strop.methods import known
from strop.policies.causal import of
from strop.recipe import Recipe
from strop.records import Fate, Group, Scores, Task, canonical
from strop.seams.context import Ctx, Handle, Ledger, Progress
from strop.seams.engine import Engine
from strop.seams.exchange import FOREIGN, Exchange
from strop.seams.feed import Recorded
from strop.seams.flight import Flight
from strop.seams.grader import SCORERS
from strop.seams.learner import Learner
from strop.seams.policy import Policy, equip
from strop.seams.signal import KINDS
from strop.seams.source import Source
from strop.tasks import source as named_source
from strop.tasks.adapters import hash_of
from strop.tripwires.watch import Watch

KEEP_CHECKPOINTS = 2
SAME_WEIGHTS = 0.05
"""Nats a decision: an engine and the learner on the same weights differ by 1e-4 or less, two models by far more."""


class RunError(ValueError):
    """A run directory that cannot be used, and what to do about it."""


@dataclass(frozen=True)
class Recording:
    """A run whose committed groups another one learns from, instead of sampling its own."""

    directory: Path
    steps: int
    foreign: bool = False
    """Another method moved the weights that drew them, so the learner's own log-probabilities are measured."""


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
    ):
        self.recipe, self.directory, self.recording = recipe, directory, recording
        self.foreign = recording is not None and recording.foreign
        self.method = recipe.resolved()
        drawn = source if source is not None else named_source(recipe.task_name())
        self.policy: Policy = policy if policy is not None else of(recipe)
        self.source = roomy(drawn, self.policy, getattr(self.method.sampler, "max_tokens", 1), recipe.longest_prompt)
        equip(self.policy, self.method.heads, recipe.seed)
        self.feed = self.method.feed
        self.exchange = exchange
        """With other trainers, where this one shares its groups."""
        self.swarm: dict[str, Any] | None = None
        """What was counted of them up to this step, as it was committed."""
        self.state = {"curriculum": self.method.curriculum.init(self.source)}
        self.ledger = Ledger()
        self.step, self.version = 0, 0
        self.bill: dict[str, int] = {}
        self.learned: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        """What the engine wrote for rollouts before this step looked at its weights."""
        self.scored: Counter[str] = Counter()
        """What graders asked of policies since the last commit."""
        self.engine = (engine or engines.build)(self.policy, recipe)
        ahead = getattr(self.feed, "ahead", 0)
        self.flight = Flight() if ahead else None
        same = recipe.dtype == "float32"  # an engine draws with the float32 weights
        self.own = self.engine.own and same and not self.foreign and not ahead
        """What was recorded while sampling is this learner's log-probability; else it is measured, and a correction bridges the two."""
        if not self.own:
            self.method = self.method.off_policy()
        self.handle = Handle(self.engine, self.policy.renderer)
        self.learner = learner(self.policy, self.method, recipe)
        self.digest_groups = ""
        self.replayed: dict[str, Any] | None = None
        self.watch = Watch(self)
        self.clock: dict[str, float] = {}
        self._mark = time.perf_counter()

    # What the step asks for, in the order it asks.

    def context(self) -> Ctx:
        progress = Progress(self.step, self.recipe.steps, self.spent)
        return Ctx(
            self.recipe.seed,
            progress,
            self.source,
            {"actor": self.handle},
            self.grade,
            self.ledger,
            evaluate=self.evaluate,
            flight=self.flight,
            exchange=self.exchange,
        )

    def pick(self, n: int) -> list[Task]:
        tasks, self.state["curriculum"] = self.method.curriculum.pick(n, self.state["curriculum"], self.context())
        return tasks

    async def grade(self, groups: list[Group]) -> Scores:
        self.lap("sample")
        if self.replayed is not None:
            return Scores.from_json(self.replayed["scores"])
        self.watch.sampled(groups)
        scores = await grading.grade(self.source, groups) | await grading.judged(self.method.graders, groups, self.context())
        await self.watch.graded(groups, scores)
        self.lap("grade")
        return scores

    def evaluate(self, groups: list[Group], scorer: str, want: frozenset[str]) -> Batch:
        """These groups with tracks of all their decisions, under the weights of a scorer as they stand, without gradient."""
        batch = pack(groups, {}, {r.id: None for g in groups for r in g.rollouts}, self.version)
        tracks, count = self.learner.evaluate(batch, want, scorer, batch.of_kinds(KINDS))
        self.scored["scored" if scorer == "online" else f"{SCORERS[scorer]}/scored"] += count
        return batch.with_(**tracks)

    def observe(self, groups: list[Group], scores: Scores) -> None:
        self.state["curriculum"] = self.method.curriculum.observe(self.state["curriculum"], groups, scores, self.context())
        self.ledger = self.ledger.after(groups, scores)

    def commit(self, groups: list[Group], scores: Scores, fates: Mapping[str, Fate], rewards: Mapping[str, float | None]) -> None:
        """On disk, all of it or nothing. What an earlier life committed is there already."""
        record: dict[str, Any] = {
            "groups": [g.to_json() for g in groups],
            "scores": scores.to_json(),
            "fates": {unit: [f.kind, f.weight, f.why] for unit, f in fates.items()},
            "rewards": dict(rewards),
        }
        body = canonical(record)
        self.digest_groups = hashlib.sha256(body.encode()).hexdigest()[:16]
        if self.replayed is not None:
            self.state, self.bill, self.ledger = self.replayed["state"], self.replayed["bill"], Ledger(**self.replayed["ledger"])
            self.swarm = self.replayed.get("swarm")
        else:
            spent, before = self.kept + Counter(self._engine_bill()), {n: v for n, v in self.bill.items() if n not in self.learned}
            spent.update(self.scored)
            known = dict.fromkeys([*self.engine.counters.to_json(), *self.scored])
            self.bill, self.scored = before | {name: before.get(name, 0) + spent[name] for name in known}, Counter()
            self.kept = Counter()
            if self.flight is not None:
                self.state["feed"], self.flight.stale = self.flight.to_json(), []
            if self.exchange is not None:
                self.exchange.publish(groups, scores, self.step, self.source, self.policy.renderer)
                self.swarm = self.exchange.tally()
        path = self.commit_path(self.step)
        if not path.exists():
            after = {"step": self.step, "version": self.version, "state": self.state, "bill": self.bill, "ledger": asdict(self.ledger)}
            after |= {"swarm": self.swarm} if self.swarm is not None else {}
            data = body[:-1] + "," + canonical(after)[1:]
            durable.write(path, gzip.compress(data.encode(), 1, mtime=0))
        if self.exchange is not None:
            self.exchange.flush()  # only what is committed: nobody is sent two groups of one step
        self.lap("commit")

    def measure(self, batch: Batch) -> Batch:
        """Tracks under the weights as they stand, where some part reads them and nobody recorded them."""
        batch = train.measure(self.method, batch, self.learner, self.learned, own=self.own)
        if self.foreign and not self.step:
            self.check_drew(batch, batch.tracks["old_logp_T"])
        return batch

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
        self.learner.gather()
        self.engine.deliver(self.version)
        self.lap("learn")

    def report(
        self,
        groups: list[Group],
        scores: Scores,
        fates: Mapping[str, Fate],
        rewards: Mapping[str, float | None],
        batch: Batch,
        facts: list[dict[str, float]],
    ) -> dict[str, Any]:
        """The metrics line. Everything outside `t` is the same whenever and however often this step is computed."""
        tried = [g for g in groups if g.role not in ("demo", FOREIGN)]
        members = [r for g in tried for r in g.rollouts]
        known = [v for r in members if (v := rewards[r.id]) is not None]
        total = {name: sum(f[name] for f in facts) for name in (facts[0] if facts else {})}
        trained = max(total.get("trained", 0), 1)
        updates = max(len(facts), 1)
        self.learned["trained"] += int(total.get("positions", 0))
        self.bill |= self.learned
        dropped: dict[str, int] = {}
        for fate in fates.values():
            if fate.kind != "keep":
                dropped[fate.why] = dropped.get(fate.why, 0) + 1
        line: dict[str, Any] = {
            "step": self.step,
            "version": self.version,
            "fingerprint": self.method.fingerprint,
            "reward": _mean(known),
            **{name: _mean([v for r in members if (v := scores.get(r, name)) is not None]) for name in scores.channels()},
            "spread": _mean([float(len({rewards[r.id] for r in g.rollouts}) > 1) for g in tried]),
            "length": _mean([float(r.length) for r in members]),
            "cut": _mean([float(r.stop == "length") for r in members]),
            "entropy": total.get("entropy", 0.0) / trained,
            "off": total.get("off", 0.0) / trained,
            "far": total.get("far", 0.0) / max(total.get("rollouts", 0), 1),
            "mismatch": facts[0]["gap"] if facts else 0.0,
            "grad_norm": total.get("grad_norm", 0.0) / updates,
            "loss": {name[5:]: value / updates for name, value in total.items() if name.startswith("loss/")},
            "updates": len(facts),
            "rollouts": len(members),
            "dropped": dropped,
            "incidents": len(scores.incidents),
            "bill": dict(self.bill),
            "digest": {
                "groups": self.digest_groups,
                "credit": _digest(batch.tracks),
                "weights": self.digest_weights(),
                "optimiser": self.digest_optimiser(),
            },
        }
        if self.method.heads:
            count = {"T": trained, "R": max(total.get("rollouts", 0), 1)}
            line["heads"] = {h.name: total.get(f"head/{h.track}", 0.0) / count[h.track[-1]] for h in self.method.heads}
        if not self.own:
            line["sampler"] = distance(batch)
        if self.flight is not None:
            line |= {"age": ages(batch), "stale": self.state["feed"]["stale"]}
            line["taken"] = [[_mean([float(r.length) for r in g.rollouts]), scores.rate(g)] for g in groups]
        theirs = [g for g in groups if g.role == FOREIGN]
        if theirs or self.swarm is not None:
            known = [v for g in theirs for r in g.rollouts if (v := rewards[r.id]) is not None]
            line["swarm"] = {"own": len(tried), "foreign": len(theirs), "reward": _mean(known), **(self.swarm or {})}
        line = self.watch.close(line)
        self.step += 1
        return line

    @property
    def grade_of_bits(self) -> str:
        """`exact`: the same bits whatever the schedule. `logged`: the same given its own commits. `statistical`: neither."""
        return "logged" if self.flight is not None else getattr(self.engine, "grade", "unknown")

    @property
    def spent(self) -> float | None:
        """The share of the recipe's budget that is spent, in positions; None without one. Discarded work is spent too."""
        if self.recipe.budget is None:
            return None
        count, unit = self.recipe.budget_in_positions
        return spend(self.bill, unit) / count

    @property
    def finished(self) -> bool:
        return self.step >= self.until or (self.spent is not None and self.spent >= 1)

    # Its life.

    def train(self, show: Callable[[dict[str, Any]], None] | None = None) -> None:
        """From here to the end. A step that is recorded already is computed from its record."""
        while not self.finished:
            started = time.perf_counter()
            line = self.advance()
            clock = {"seconds": time.perf_counter() - started, **self.clock}
            line["t"] = {name: round(value, 4) for name, value in clock.items()}
            line["t"] |= {"at": time.time(), "replayed": self.replayed is not None}
            durable.append(self.directory / "metrics.jsonl", canonical(line))
            if self.step % self.recipe.checkpoint_every == 0 or self.finished:
                self.checkpoint()
            if show is not None:
                show(line)

    def advance(self) -> dict[str, Any]:
        """One step, and its line."""
        self._mark, self.clock = time.perf_counter(), {}
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
        path = next((path for place in places if (path := commit_path(place, number)).exists()), None)
        if path is None:
            if self.recording is not None:
                raise RunError(f"{self.recording.directory} no longer holds step {number}, which {self.directory} replays. Put it back.")
            return None
        try:
            return json.loads(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error}). Delete it and what follows it to sample these steps again.") from error

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.clock[phase] = self.clock.get(phase, 0.0) + now - self._mark
        self._mark = now

    def _engine_bill(self) -> dict[str, int]:
        now = self.engine.counters.to_json()
        last, self._last_bill = getattr(self, "_last_bill", {}), now
        return {name: value - last.get(name, 0) for name, value in now.items()}

    def forget_bill(self, *kinds: str) -> None:
        """Evaluation is not training: what it costs stays off the bill. With `kinds` only those positions do: the rest was rollouts."""
        self.kept.update({name: value for name, value in self._engine_bill().items() if kinds and name not in kinds})

    def commit_path(self, step: int) -> Path:
        return commit_path(self.directory, step)

    def past_swarm(self) -> dict[str, Any] | None:
        """What an earlier life of this run had counted of other trainers when it last committed."""
        done = recorded_steps(self.directory)
        record = self.record(done - 1) if done else None
        return None if record is None else record.get("swarm")

    def digest_weights(self, *, heads: bool = True) -> str:
        return _digest({name: p for name, p in self.policy.parameters().items() if heads or not name.startswith("heads.")})

    def digest_optimiser(self) -> str:
        return _digest(self.learner.state())

    def checkpoint(self) -> Path:
        """A directory any Hugging Face library can load, with what it takes to go on."""
        from safetensors.torch import save_file

        final = self.directory / "checkpoints" / f"{self.step:06d}"
        beside = final.with_name(final.name + ".part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        durable.point("write")
        self.policy.export(beside)
        durable.point("torn")
        optimiser = self.learner.state()
        save_file({name: t.detach().contiguous() for name, t in optimiser.items()}, beside / "optimiser.safetensors")
        if self.policy.heads:
            save_file({k: v.contiguous() for k, v in self.policy.heads.state_dict().items()}, beside / "heads.safetensors")
        state = {
            "step": self.step,
            "version": self.version,
            "learned": dict(self.learned),
            "state": self.state,
            "ledger": asdict(self.ledger),
            "bill": self.bill,
            "threads": torch.get_num_threads(),
            "digest": {"weights": self.digest_weights(), "optimiser": _digest(optimiser)},
        }
        (beside / "state.json").write_text(canonical(state))
        durable.point("write")
        (beside / "hash").write_text(_hash_directory(beside))
        durable.publish(beside, final)
        for old in sorted(p for p in final.parent.iterdir() if p.name.isdigit())[:-KEEP_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)
        self.lap("checkpoint")
        return final

    def restore(self, path: Path) -> None:
        state = json.loads((path / "state.json").read_text())
        self.learner.restore(path)
        self.step, self.version, self.learned = state["step"], state["version"], Counter(state["learned"])
        self.state, self.bill, self.ledger = state["state"], state["bill"], Ledger(**state["ledger"])
        self.engine.deliver(self.version)


def create(recipe: Recipe, directory: Path, **parts: Any) -> Run:
    """A new run in a directory that is not there yet."""
    if directory.is_file() or any(not p.is_dir() for p in directory.rglob("*")):  # empty folders: a run that never began
        raise RunError(f"{directory} exists already. Go on with it: strop train --resume {directory}. Or name another: --out DIR.")
    try:
        for name in ("", "groups", "checkpoints", "eval"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        durable.sync_directory(directory)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror}. Choose another place with --out DIR.") from error
    run = Run(recipe, directory, **parts)
    about = {
        "recipe": _plain(recipe),
        "resolved": {**recipe.describe(), "method": run.method.name, "parts": run.method.describe()},
        "method": run.method.to_json(),
        "fingerprint": {"method": run.method.fingerprint, "recipe": recipe.fingerprint},
    }
    about |= {"versions": versions(), "threads": torch.get_num_threads(), "grade": run.grade_of_bits}
    about["own"] = run.own
    if (told := getattr(run.source, "contents", None)) is not None:
        about["data"] = told()
    if run.recording is not None:
        about["replay"] = {"of": str(run.recording.directory.resolve()), "steps": run.recording.steps, "foreign": run.foreign}
    about["tripwires"] = [{"from_step": 0, **run.watch.describe()}]
    _write_about(directory, about)
    return run


def _write_about(directory: Path, about: Mapping[str, Any]) -> None:
    durable.write(directory / "recipe.json", (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())


def resume(directory: Path, say: Callable[[str], None] = print, method: Method | None = None, tripwire: str = "", **parts: Any) -> Run:
    """The run as it was when it stopped: the last good checkpoint, then the groups committed since.

    A method that is not among strop's own has to be given again: a run directory holds data, no code. `tripwire` sets
    limits anew, on top of the recipe's.
    """
    run = reopen(directory, say, method, tripwire, **parts)
    lines = len(read_metrics(directory))
    for path in (path for path in good_checkpoints(directory, say) if int(path.name) > lines):
        say(f"note: metrics.jsonl is torn after {lines} steps, so checkpoint {path.name} is not used and its steps are computed again.")
    if good := [path for path in good_checkpoints(directory) if int(path.name) <= lines]:
        run.restore(good[-1])
    cut_metrics(directory / "metrics.jsonl", run.step)
    run.watch.lines = [*read_metrics(directory)]
    run.watch.resumed(run.record(run.step - 1) if run.step else None)
    about, _ = read_recipe(directory, method)
    if {**about["tripwires"][-1], "from_step": 0} != {"from_step": 0, **run.watch.describe()}:
        about["tripwires"].append({"from_step": run.step, **run.watch.describe()})
        about["recipe"]["tripwire"] = run.recipe.tripwire
        _write_about(directory, about)
    run.forget_bill()
    waiting = sum(run.commit_path(step).exists() for step in range(run.step, run.recipe.steps))
    say(f"resuming {directory} from step {run.step}; {waiting} later steps are committed and are computed again from their groups")
    return run


def at_step(
    directory: Path, step: int, say: Callable[[str], None] = print, method: Method | None = None, nearest: bool = False, **parts: Any
) -> Run:
    """The run in memory as it was when this step began; nothing on disk changes.

    The updates since the last checkpoint before it are computed again: all of them, where no such checkpoint was kept. With
    `nearest` none are, and the weights are those of the checkpoint closest to the step: another learner's than the one that drew it.
    """
    as_threaded(directory)
    run = reopen(directory, say, method, **parts)
    if not commit_path(directory, step).exists():
        last = recorded_steps(directory) - 1
        raise RunError(f"{directory} has no record of step {step}. " + (f"Its last is {last}." if last >= 0 else "No step was committed."))
    there = [path for path in good_checkpoints(directory, say) if nearest or int(path.name) <= step]
    best = min(there, key=lambda path: abs(int(path.name) - step), default=None)
    if best is not None and abs(int(best.name) - step) <= step:
        run.restore(best)
    where = "the starting weights" if run.step == 0 else f"checkpoint {run.step}"
    if nearest and run.step != step:
        say(f"step {step} under {where}, the nearest there is: log-probabilities are measured, and bridged to the recorded ones")
        run.step, run.foreign, run.own = step, True, False
        return run
    say(f"weights of step {step}: {where}, and {step - run.step} updates computed again from their groups")
    while run.step < step:
        run.advance()
    return run


def reopen(directory: Path, say: Callable[[str], None] = print, method: Method | None = None, tripwire: str = "", **parts: Any) -> Run:
    """The run of a directory at its start, made of the same parts, or refused where those are no longer the same."""
    about, recipe = read_recipe(directory, method)
    check_data(directory, about)
    recipe = recipe.but(tripwire=",".join(filter(None, (recipe.tripwire, tripwire))))
    if "replay" in about:
        parts["recording"] = Recording(Path(about["replay"]["of"]), about["replay"]["steps"], about["replay"]["foreign"])
    run = Run(recipe, directory, **parts)
    check_method(directory, about, run.method)
    if about["threads"] != torch.get_num_threads():
        say(f"note: this run began with {about['threads']} threads and goes on with {torch.get_num_threads()}: bits may differ.")
    return run


def as_threaded(directory: Path) -> None:
    """Compute with as many threads as the run did: sums over another number of threads have other bits."""
    torch.set_num_threads(read_recipe(directory)[0]["threads"])


def read_recipe(directory: Path, method: Method | None = None) -> tuple[dict[str, Any], Recipe]:
    """What recipe.json says, and the recipe in it."""
    if not (directory / "recipe.json").exists():
        raise RunError(f"{directory} holds no run (no recipe.json). `strop runs` lists the runs there are.")
    try:
        about = json.loads((directory / "recipe.json").read_text())
        recipe = Recipe(**about["recipe"])
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{directory / 'recipe.json'} cannot be read: {error}") from error
    if method is not None:
        recipe = recipe.but(method=method)
    elif not known(str(recipe.method)):
        raise RunError(
            f"{directory} was made by the method {recipe.method!r} of a recipe file; give it too: strop train FILE --resume {directory}"
        )
    return about, recipe


def check_method(directory: Path, about: Mapping[str, Any], method: Method) -> None:
    """The method that a run was made by is the one its recipe gives today."""
    if method.fingerprint != about["fingerprint"]["method"]:
        raise RunError(
            f"{directory} was made by method {about['fingerprint']['method']}, but this version of strop builds {method.fingerprint} "
            "from the same recipe. Resume it with the version named in its recipe.json, or start a new run."
        )


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


def check_data(directory: Path, about: Mapping[str, Any]) -> None:
    """The files a run draws from are the ones it began with, byte for byte."""
    for name, was in about.get("data", {}).get("files", {}).items():
        if not Path(name).is_file():
            raise RunError(f"{directory} draws from {name}, which is gone. Put the file back.")
        if (now := hash_of(Path(name))) != was:
            raise RunError(
                f"{directory} draws from {name}, which has changed since the run began: its sha256 was {was[:12]}… and is {now[:12]}…. "
                "Put the old file back, or start a new run."
            )


def drew_itself(about: Mapping[str, Any]) -> bool:
    """Of what recipe.json says: did the run learn from rollouts that its own weights and arithmetic drew?"""
    return about.get("own", not about.get("replay", {}).get("foreign"))


def good_checkpoints(directory: Path, say: Callable[[str], None] = lambda said: None) -> list[Path]:
    """Those whose hash is right, by step."""
    good: list[Path] = []
    for path in sorted(p for p in (directory / "checkpoints").iterdir() if p.name.isdigit()):
        if (path / "hash").exists() and (path / "hash").read_text() == _hash_directory(path):
            good.append(path)
        else:
            say(f"note: checkpoint {path.name} is damaged and is not used.")
    return good


def recorded_steps(directory: Path) -> int:
    """How many steps from the first on are committed."""
    step = 0
    while commit_path(directory, step).exists():
        step += 1
    return step


def commit_path(directory: Path, step: int) -> Path:
    return directory / "groups" / f"{step:06d}.json.gz"


def spend(bill: Mapping[str, int], unit: str = "positions") -> int:
    """What a bill comes to in one unit: `decoded`, `trained`, …, or all positions that some policy computed (copies are no work)."""
    return sum(count for name, count in bill.items() if name != "copied") if unit == "positions" else bill.get(unit, 0)


def cut_metrics(path: Path, steps: int) -> None:
    """Keep the lines of the first `steps` steps; a torn last line goes too."""
    kept: list[bytes] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            if json.loads(line)["step"] < steps:
                kept.append(line)
        except (ValueError, KeyError):
            break
    durable.write(path, b"".join(line + b"\n" for line in kept))


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    path = directory / "metrics.jsonl"
    lines: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def versions() -> dict[str, str]:
    import transformers

    return {"strop": __version__, "torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()}


def _plain(recipe: Recipe) -> dict[str, Any]:
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    return {**values, "method": recipe.method if isinstance(recipe.method, str) else recipe.method.name}


def distance(batch: Batch) -> dict[str, float]:
    """How far the learner is from whoever drew its rollouts, over the trained decisions: KL(sampler || learner) by k3, the share
    of them that an importance weight leaves effective, and the largest weight."""
    log_T = (batch.tracks["old_logp_T"] - batch.tracks["sampled_logp_T"])[batch.trained_T].double()
    if not len(log_T):
        return {"kl": 0.0, "effective": 1.0, "largest": 1.0}
    ratio_T = log_T.exp()
    effective = ratio_T.sum().square() / ratio_T.square().sum() / len(ratio_T)
    return {"kl": (ratio_T - 1 - log_T).mean().item(), "effective": effective.item(), "largest": ratio_T.max().item()}


def ages(batch: Batch) -> dict[str, float]:
    """Versions between the weights that wrote the trained decisions and those that learn from them."""
    age_T = batch.tracks["age_T"][batch.trained_T].double()
    return {"mean": age_T.mean().item(), "most": age_T.max().item()} if len(age_T) else {"mean": 0.0, "most": 0.0}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _digest(named: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(named):
        total.update(name.encode())
        total.update(named[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def _hash_directory(path: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != "hash"):
        total.update(file.relative_to(path).as_posix().encode())
        total.update(file.read_bytes())
    return total.hexdigest()
