"""Run: a recipe that is executed, and its directory. Killed at any instant, it goes on as if it had not been.

    recipe.json      what was asked for, with fingerprints and versions
    metrics.jsonl    one line a step: the source of truth
    groups/          one file a step, written before the update: tokens, log-probabilities, scores, fates, states
    checkpoints/     Hugging Face format, with optimiser, heads and the state of every part, under one hash
    eval/            held-out results before and after

Weights at step n are a function of the last checkpoint and the groups committed since: resuming replays those.
Equality of two runs means equal metrics lines outside `t`, where the clocks are.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import hashlib
import json
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strop import __version__, durable, grading, train
from strop.batch import Batch
from strop.engines.embedded import EmbeddedEngine
from strop.method import Method
from strop.methods import METHODS
from strop.policies.causal import CausalPolicy, load
from strop.recipe import Recipe
from strop.records import Fate, Group, Scores, Task, canonical
from strop.seams.context import Ctx, Handle, Ledger, Progress
from strop.seams.feed import Recorded
from strop.seams.source import Source
from strop.tasks import source as named_source
from strop.tripwires.watch import Watch

KEEP_CHECKPOINTS = 2


class RunError(ValueError):
    """A run directory that cannot be used, and what to do about it."""


class Run:
    """Everything a step touches. `run.train()` takes it from where it stands to its last step."""

    def __init__(self, recipe: Recipe, directory: Path, policy: CausalPolicy | None = None, source: Source | None = None):
        self.recipe, self.directory = recipe, directory
        self.method = recipe.resolved()
        self.source = source if source is not None else named_source(recipe.task_name())
        device = recipe.device if recipe.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self.policy = policy if policy is not None else load(recipe.model, device=device)
        torch.manual_seed(recipe.seed)
        for head in self.method.heads:
            if head not in self.policy.heads:
                self.policy.add_head(head)
        self.reference: CausalPolicy | None = None
        if self.method.reference:
            frozen = copy.deepcopy(self.policy.model).requires_grad_(False)
            self.reference = CausalPolicy(frozen, self.policy.tokenizer, "reference")
        self.feed = self.method.feed
        self.state = {"curriculum": self.method.curriculum.init(self.source)}
        self.ledger = Ledger()
        self.step, self.version = 0, 0
        self.bill: dict[str, int] = {}
        self.learned: Counter[str] = Counter()
        self.engine = EmbeddedEngine(
            self.policy.model,
            self.policy.tokenizer,
            seed=recipe.seed,
            slots=recipe.slots,
            cache=recipe.cache,
            eos_ids=self.policy.eos,
        )
        self.handle = Handle(self.engine, self.policy.renderer)
        u = self.method.update
        self.named = self.policy.parameters()
        self.optimiser = torch.optim.AdamW(
            list(self.named.values()), lr=u.lr, betas=u.betas, eps=u.eps, weight_decay=u.weight_decay, fused=True
        )
        self.digest_groups = ""
        self.replayed: dict[str, Any] | None = None
        self.watch = Watch(self)
        self.clock: dict[str, float] = {}
        self._mark = time.perf_counter()

    # What the step asks for, in the order it asks.

    def context(self) -> Ctx:
        progress = Progress(self.step, self.recipe.steps, self.spent)
        return Ctx(self.recipe.seed, progress, self.source, {"actor": self.handle}, self.grade, self.ledger)

    def pick(self, n: int) -> list[Task]:
        tasks, self.state["curriculum"] = self.method.curriculum.pick(n, self.state["curriculum"], self.context())
        return tasks

    async def grade(self, groups: list[Group]) -> Scores:
        self.lap("sample")
        if self.replayed is not None:
            return Scores.from_json(self.replayed["scores"])
        self.watch.sampled(groups)
        scores = await grading.grade(self.source, groups)
        await self.watch.graded(groups, scores)
        self.lap("grade")
        return scores

    def observe(self, groups: list[Group], scores: Scores) -> None:
        self.state["curriculum"] = self.method.curriculum.observe(self.state["curriculum"], groups, scores, self.context())
        self.ledger = self.ledger.after(groups, scores)

    def commit(self, groups: list[Group], scores: Scores, fates: Mapping[str, Fate], rewards: Mapping[str, float | None]) -> None:
        """On disk, all of it or nothing. When replaying, the record is there already."""
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
        else:
            self.bill = {name: self.bill.get(name, 0) + value for name, value in self._engine_bill().items()}
            after = {"step": self.step, "version": self.version, "state": self.state, "bill": self.bill, "ledger": asdict(self.ledger)}
            data = body[:-1] + "," + canonical(after)[1:]
            durable.write(self.commit_path(self.step), gzip.compress(data.encode(), 1, mtime=0))
        self.lap("commit")

    def measure(self, batch: Batch) -> Batch:
        """Tracks under the weights as they stand, where some part reads them and nobody recorded them."""
        sampled_T = batch.tracks["sampled_logp_T"]
        readers = (s.on.kinds for s in self.method.signals.values() if "old_logp_T" in s.objective.reads)
        read_T = batch.of_kinds({kind for kinds in readers for kind in kinds}) & batch.trains_T
        unknown = bool(sampled_T[read_T].isnan().any())
        want = frozenset({"logp_T", "value_T"} if self.method.heads else {"logp_T"})
        own = self._measured(self.policy, batch, want) if unknown or self.method.heads else {"logp_T": sampled_T}
        tracks = {"old_logp_T": own["logp_T"]}
        if "value_T" in own:
            tracks["old_value_T"] = own["value_T"]
        if self.reference is not None:
            tracks["reference_logp_T"] = self._measured(self.reference, batch, frozenset({"logp_T"}))["logp_T"]
        return batch.with_(**tracks)

    def _measured(self, policy: CausalPolicy, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        """One pass without gradient. Decisions of rows that train nothing stay NaN."""
        tracks = {name: torch.full((batch.index.size("token"),), float("nan")) for name in want}
        entry = "measured" if policy is self.policy else f"{policy.name}/measured"
        with torch.no_grad():
            for rows in batch.micros(self.recipe.token_budget, "row"):
                at_T = batch.index.rows(torch.tensor(rows))[1]
                micro = batch.take(rows)
                got = policy.evaluate(micro, want)
                self.learned[entry] += sum(len(row.tokens) for row in micro.rows)
                for name in want:
                    tracks[name][at_T] = got[name]
        return tracks

    def clip(self) -> float:
        """Bound the gradients that `backward` left; gives their norm before."""
        parameters = list(self.named.values())
        limit = self.method.update.clip_norm
        return torch.nn.utils.clip_grad_norm_(parameters, limit if limit is not None else float("inf")).item()

    def apply(self, fraction: float) -> None:
        """One optimiser step on what `clip` left in the gradients."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.method.update.lr * float(self.method.update.schedule.on({"fraction": fraction}))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def deliver(self) -> None:
        self.version += 1
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
        tried = [g for g in groups if g.role != "demo"]
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
            "mismatch": facts[0]["gap"] if facts else 0.0,
            "grad_norm": total.get("grad_norm", 0.0) / updates,
            "loss": {name[5:]: value / updates for name, value in total.items() if name.startswith("loss/")},
            "updates": len(facts),
            "rollouts": len(members),
            "dropped": dropped,
            "incidents": len(scores.incidents),
            "bill": dict(self.bill),
            "digest": {"groups": self.digest_groups, "weights": self.digest_weights(), "optimiser": self.digest_optimiser()},
        }
        line = self.watch.close(line)
        self.step += 1
        return line

    @property
    def spent(self) -> float | None:
        """The share of the recipe's budget that is spent, in positions; None without one. Discarded work is spent too."""
        if self.recipe.budget is None:
            return None
        count, unit = self.recipe.budget_in_positions
        return spend(self.bill, unit) / count

    @property
    def finished(self) -> bool:
        return self.step >= self.recipe.steps or (self.spent is not None and self.spent >= 1)

    # Its life.

    def train(self, show: Callable[[dict[str, Any]], None] | None = None) -> None:
        """From here to the end. A step whose groups are committed already is computed again from them."""
        while not self.finished:
            started = self._mark = time.perf_counter()
            self.clock = {}
            self.replayed = record = self.committed(self.step)
            self.feed = self.method.feed if record is None else Recorded(tuple(Group.from_json(g) for g in record["groups"]))
            try:
                line = asyncio.run(train.step(self))
            except FloatingPointError as error:
                self.watch.broken(str(error))
            clock = {"seconds": time.perf_counter() - started, **self.clock}
            line["t"] = {name: round(value, 4) for name, value in clock.items()}
            line["t"] |= {"at": time.time(), "replayed": self.replayed is not None}
            durable.append(self.directory / "metrics.jsonl", canonical(line))
            if self.step % self.recipe.checkpoint_every == 0 or self.finished:
                self.checkpoint()
            if show is not None:
                show(line)

    def committed(self, step: int) -> dict[str, Any] | None:
        """A step's record, if an earlier life of the run wrote one: nothing is sampled or graded twice."""
        path = self.commit_path(step)
        if not path.exists():
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

    def forget_bill(self) -> None:
        """Evaluation is not training: what it costs stays off the bill."""
        self._engine_bill()

    def commit_path(self, step: int) -> Path:
        return self.directory / "groups" / f"{step:06d}.json.gz"

    def digest_weights(self) -> str:
        return _digest(self.named)

    def digest_optimiser(self) -> str:
        return _digest(self._optimiser_tensors())

    def _optimiser_tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                found[f"{name}/{key}"] = value
        return found

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
        save_file(
            {name: t.detach().contiguous().clone() for name, t in self._optimiser_tensors().items()}, beside / "optimiser.safetensors"
        )
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
            "digest": {"weights": self.digest_weights(), "optimiser": self.digest_optimiser()},
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
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM

        state = json.loads((path / "state.json").read_text())
        saved = AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, trust_remote_code=False, dtype=self.policy.dtype)
        with torch.no_grad():
            theirs = dict(saved.named_parameters())
            for name, parameter in self.policy.model.named_parameters():
                parameter.copy_(theirs[name])
        if self.policy.heads:
            self.policy.heads.load_state_dict(load_file(path / "heads.safetensors"))
        tensors = load_file(path / "optimiser.safetensors")
        for name, parameter in self.named.items():
            mine = {key.rsplit("/", 1)[1]: value for key, value in tensors.items() if key.rsplit("/", 1)[0] == name}
            if mine:
                self.optimiser.state[parameter] = mine
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
        "resolved": recipe.describe(),
        "fingerprint": {"method": run.method.fingerprint, "recipe": recipe.fingerprint},
    }
    about |= {"versions": versions(), "threads": torch.get_num_threads(), "grade": getattr(run.engine, "grade", "unknown")}
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
    if not (directory / "recipe.json").exists():
        raise RunError(f"{directory} holds no run (no recipe.json). `strop runs` lists the runs there are.")
    try:
        about = json.loads((directory / "recipe.json").read_text())
        recipe = Recipe(**about["recipe"])
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{directory / 'recipe.json'} cannot be read: {error}") from error
    if method is not None:
        recipe = recipe.but(method=method)
    elif recipe.method not in METHODS:
        raise RunError(
            f"{directory} was made by the method {recipe.method!r} of a recipe file; give it too: strop train FILE --resume {directory}"
        )
    recipe = recipe.but(tripwire=",".join(filter(None, (recipe.tripwire, tripwire))))
    run = Run(recipe, directory, **parts)
    if run.method.fingerprint != about["fingerprint"]["method"]:
        raise RunError(
            f"{directory} was made by method {about['fingerprint']['method']}, but this version of strop builds {run.method.fingerprint} "
            "from the same recipe. Resume it with the version named in its recipe.json, or start a new run."
        )
    if about["threads"] != torch.get_num_threads():
        say(f"note: this run began with {about['threads']} threads and goes on with {torch.get_num_threads()}: bits may differ.")
    lines, good = len(read_metrics(directory)), None
    for path in sorted((p for p in (directory / "checkpoints").iterdir() if p.name.isdigit()), reverse=True):
        if not (path / "hash").exists() or (path / "hash").read_text() != _hash_directory(path):
            say(f"note: checkpoint {path.name} is damaged and is not used.")
        elif int(path.name) > lines:
            say(f"note: metrics.jsonl is torn after {lines} steps, so checkpoint {path.name} is not used and its steps are computed again.")
        else:
            good = path
            break
    if good is not None:
        run.restore(good)
    cut_metrics(directory / "metrics.jsonl", run.step)
    run.watch.lines = [*read_metrics(directory)]
    run.watch.resumed(run.committed(run.step - 1) if run.step else None)
    if {**about["tripwires"][-1], "from_step": 0} != {"from_step": 0, **run.watch.describe()}:
        about["tripwires"].append({"from_step": run.step, **run.watch.describe()})
        about["recipe"]["tripwire"] = recipe.tripwire
        _write_about(directory, about)
    run.forget_bill()
    waiting = sum(run.commit_path(step).exists() for step in range(run.step, recipe.steps))
    say(f"resuming {directory} from step {run.step}; {waiting} later steps are committed and are computed again from their groups")
    return run


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
