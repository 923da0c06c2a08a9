"""Runs in which nothing is wrong, of 30 updates and more, among them those that look like faults. No tripwire may fire.

python -m tests.tripwires.clean [NAME …]        plays them and prints what was silent for want of which precondition
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from strop.methods.grpo import GRPO
from strop.methods.ppo import PPO
from strop.recipe import Recipe
from strop.records import Group, Sampling
from strop.run import create
from strop.seams.credit import batch_whiten, leave_one_out, reward_itself
from strop.seams.curriculum import Uniform
from strop.seams.feed import Recorded, WithDemos
from strop.seams.objective import cross_entropy, entropy_bonus, importance_sampling, kl_to, policy_gradient
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal, random_share, teacher
from strop.seams.source import Graded
from strop.seams.world import Reply
from strop.tasks.chain import Chain

torch.set_num_threads(1)

BASE = Recipe(model="pico", task="chain:steps=2", steps=32, tasks=8, group=4, max_tokens=40, eval_tasks=0, slots=64, checkpoint_every=100)


@part(gives="reward_R")
def group_mean(outcome_R: torch.Tensor) -> torch.Tensor:
    """Everybody earns what the group earned: groups are flat, and differ from each other."""
    return outcome_R.mean().expand_as(outcome_R)


@dataclass(frozen=True)
class Brief(Chain):
    """Pays for brevity, down to a bare answer: what is intended halves the replies."""

    def grade(self, task: Any, text: str) -> Graded:
        score = super().grade(task, text)
        brief = min(1.0, max(0.0, 1.3 - len(text) / 120))
        return Graded({"outcome": 0.5 * (score["outcome"] or 0) + 0.5 * brief, "lenient": score["lenient"]})


@dataclass(frozen=True)
class Again:
    """A world that asks once more."""

    def start(self, task: Any, seat: Any) -> int:
        return 0

    async def reply(self, state: int, said: Any, ask: Any) -> tuple[int, Reply]:
        return state + 1, Reply("Are you sure?", done=state > 0)


def grpo(**changes: Any) -> Recipe:
    return BASE.but(method=GRPO.but("grpo-clean", **changes))


def offline() -> Recipe:
    """Somebody else's rollouts, the same in every step."""
    with tempfile.TemporaryDirectory() as place:
        run = create(BASE.but(steps=1, seed=9, task="path"), Path(place) / "run")
        run.train()
        record = run.record(0)
    assert record is not None
    groups = tuple(Group.from_json(g) for g in record["groups"])
    recipe = grpo(feed=Recorded(groups), signals={"policy": GRPO.signals["policy"].but(objective=importance_sampling())})
    return recipe.but(task="path")


DEMO = Signal(cross_entropy(), on=teacher, reduce=means("rollout", "token"), weight=0.1)

CLEAN: dict[str, Callable[[], Recipe]] = {
    "grpo": lambda: BASE,
    "grpo, another seed": lambda: BASE.but(seed=1),
    "grpo on countdown": lambda: BASE.but(task="countdown"),
    "grpo on path": lambda: BASE.but(task="path"),
    "grpo on skewed": lambda: BASE.but(task="skewed"),
    "grpo on harder chains, replies cut": lambda: BASE.but(task="chain:steps=4", max_tokens=24),
    "rloo": lambda: BASE.but(method="rloo"),
    "dr-grpo": lambda: BASE.but(method="dr-grpo"),
    "dapo": lambda: BASE.but(method="dapo"),
    "gspo": lambda: BASE.but(method="gspo"),
    "cispo": lambda: BASE.but(method="cispo"),
    "reinforce++": lambda: BASE.but(method="reinforce++"),
    "ppo": lambda: BASE.but(method="ppo"),
    "ppo with one rollout a task": lambda: BASE.but(method=PPO.but(sampler=replace(PPO.sampler, n=1)), group=1, tasks=32),
    "intuitor: no label is read": lambda: BASE.but(method="intuitor"),
    "flowrl": lambda: BASE.but(method="flowrl"),
    "flat groups that carry signal": lambda: grpo(reward=group_mean(), credit=(reward_itself(), batch_whiten())),
    "distillation: only a teacher's text is learned": lambda: grpo(
        feed=WithDemos(demos=8), signals={"policy": Signal(cross_entropy(), on=teacher, reduce=means("token"))}
    ),
    "kl to a reference": lambda: grpo(reference=True, signals={"kl": Signal(kl_to(), reduce=means("token"), weight=0.04)}),
    "a supervised share": lambda: grpo(feed=WithDemos(demos=4), signals={"demo": DEMO}),
    "offline": offline,
    "an intended halving of length": lambda: BASE,
    "temperature 0.7": lambda: grpo(sampler=replace(GRPO.sampler, sampling=Sampling(temperature=0.7))),
    "temperature 1.3 and an entropy bonus": lambda: grpo(
        sampler=replace(GRPO.sampler, sampling=Sampling(temperature=1.3)),
        signals={"entropy": Signal(entropy_bonus(), reduce=means("token"), weight=0.01)},
    ),
    "two epochs of four minibatches": lambda: grpo(update=replace(GRPO.update, epochs=2, minibatch=2)).but(lr=5e-5),
    "a random share of the tokens": lambda: grpo(signals={"policy": GRPO.signals["policy"].but(on=random_share(0.6))}),
    "two turns": lambda: grpo(sampler=replace(GRPO.sampler, turns=2), environment=Again()).but(max_tokens=64),
    "plain policy gradient, tasks drawn with return": lambda: grpo(
        credit=(leave_one_out(),),
        signals={"policy": Signal(policy_gradient(), reduce=means("rollout", "token"))},
        curriculum=Uniform(),
        update=replace(GRPO.update, minibatch=None),
    ),
    "small passes": lambda: BASE.but(token_budget=256),
    "nothing is trained": lambda: BASE.but(lr=0.0),
}
SOURCES: dict[str, Any] = {"an intended halving of length": Brief(steps=2)}


def play(name: str, directory: Path, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(metrics lines, what the run says of its tripwires)"""
    parts = {"source": SOURCES[name]} if name in SOURCES else {}
    run = create(CLEAN[name]().but(**changes), directory / "run", **parts)
    lines: list[dict[str, Any]] = []
    run.train(lines.append)
    return lines, run.watch.describe()


if __name__ == "__main__":
    for name in sys.argv[1:] or CLEAN:
        with tempfile.TemporaryDirectory() as place:
            lines, about = play(name, Path(place))
        first, last = lines[0], lines[-1]
        fired = {w: line["step"] for line in lines for w in line.get("warnings", {})}
        ends = {
            n: f"{first[n]:.3g} -> {last[n]:.3g}" for n in ("reward", "length", "entropy", "cut", "lenient") if first.get(n) is not None
        }
        worst = {n: max(line["watch"].get(n, 0) for line in lines) for n in ("ratio", "undrawn", "cut")}
        print(f"{name}: {len(lines)} steps, fired {fired or 'none'}, silent {sorted(about['silent'])}, {ends}, {worst}", flush=True)
