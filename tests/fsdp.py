"""One learner in several processes against one in one: the same minibatches, the gradient of each, and the weights after all of them.

    python tests/fsdp.py                    prints the table for 2 and 4 processes
    python tests/fsdp.py sample DIR         samples every case's groups once
    torchrun --nproc-per-node N tests/fsdp.py learn DIR

Rewards are made up, so that no group agrees; all else is the run's: sampler, credit, signals, shares, clipping, optimiser.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from strop import learning
from strop.batch import pack
from strop.learners.local import Local
from strop.learners.rank import Rank
from strop.learners.torchrun import Session
from strop.loop import Run
from strop.method import Method
from strop.methods.flowrl import FLOWRL, group_balance
from strop.methods.grpo import GRPO
from strop.policies.causal import of
from strop.recipe import Recipe
from strop.records import Group
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.policy import equip
from strop.seams.reduction import means
from strop.seams.signal import Signal

DEVICE = "cuda" if torch.cuda.device_count() >= 4 else "cpu"
SIZE = {"device": DEVICE, "task": "chain", "tasks": 4, "group": 4, "max_tokens": 16, "slots": 16, "eval_tasks": 0, "lr": 1e-3}


@part(grain="group", needs=("group", "reference"))
def preferred(logp_T: Tensor, reference_logp_T: Tensor, credit_T: Tensor, index: Index, *, beta: float = 0.1) -> Tensor:
    """DPO's loss (arXiv:2305.18290), meaned over all pairs of a group of which one earned more than the other."""
    gap_R = beta * index.sum(logp_T - reference_logp_T, "token", "rollout")
    earned_R = index.mean(credit_T, "token", "rollout")
    together_RR = index.group_R[:, None] == index.group_R
    better_RR = (together_RR & (earned_R[:, None] > earned_R)).to(gap_R.dtype)
    lost_R = -(better_RR * logsigmoid(gap_R[:, None] - gap_R)).sum(1)
    return index.sum(lost_R, "rollout", "group") / index.sum(better_RR.sum(1), "rollout", "group").clamp_min(1)


PAIRS = GRPO.but("pairs", reference=True, signals={"policy": Signal(preferred(), means("group"))})
BALANCE = FLOWRL.but("balance", signals={"policy": Signal(group_balance(), means("group"))})
CASES: dict[str, tuple[str | Method, int]] = {
    "ragged rows": ("grpo", 40),
    "an odd number of passes per rank": ("grpo", 60),
    "fewer passes than ranks": ("grpo", 100000),
    "tree": ("treepo", 60),
    "pairs": (PAIRS, 250),
    "a loss per group": (BALANCE, 250),
    "a head and a reference": ("ppo", 60),
    "adapters alone, and a reference": ("ppo", 60),
    "checkpointing": ("grpo", 60),
}
"""Method, and the tokens of one pass."""
MORE = {"adapters alone, and a reference": {"lora": 4}, "checkpointing": {"checkpointing": True}}
DEADLINE = 150


def recipe(name: str) -> Recipe:
    made, budget = CASES[name]
    return Recipe(method=made, token_budget=budget, **SIZE, **MORE.get(name, {}))


def sample(directory: Path) -> None:
    """Every case's groups, drawn by one process."""
    for number, name in enumerate(CASES):
        with tempfile.TemporaryDirectory() as place:
            run = Run(recipe(name), Path(place))
            run.engine.begin(0)
            want = asyncio.run(run.feed.take(run.pick, run.method.tasks, run.method.sampler, None, run.context(), Counter()))
            (directory / f"{number}.json.gz").write_bytes(gzip.compress(json.dumps([g.to_json() for g in want]).encode()))


def learn(directory: Path) -> None:
    """Two updates of each case; whoever is first writes the gradients, the weights and the number of passes and updates."""
    alone = "TORCHELASTIC_RUN_ID" not in os.environ
    if not alone:
        mesh = Session(DEVICE).mesh
    for number, name in enumerate(CASES):
        made = recipe(name)
        one = made.resolved()
        if alone:
            policy = of(made)
            equip(policy, one.heads, made.seed)
            learner = Local(policy, one, made)
        else:
            learner = Rank(made, one, mesh).learner
        groups = [Group.from_json(g) for g in json.loads(gzip.decompress((directory / f"{number}.json.gz").read_bytes()))]
        rewards = {r.id: float((i + j) % 3 == 0) for i, g in enumerate(groups) for j, r in enumerate(g.rollouts)}
        batch = learning.settle(one, learning.measure(one, pack(groups, {}, rewards, 0), learner, Counter(), own=False))
        found, passes = {}, []
        for update, mini in enumerate(batch.minibatches(2)):
            passes.append(len(learning.plan(one, mini, made.token_budget, (0, 0, update)).passes))
            learner.backward(mini, 0.0, (0, 0, update))
            found |= {f"{update}/{n}": learner.peers.whole(p.grad).clone() for n, p in learner.named.items() if p.grad is not None}
            found[f"{update}/norm"] = torch.tensor(learner.clip(), dtype=torch.float64)
            learner.apply(0.0)
        found |= {f"weight/{n}": learner.peers.whole(p.detach()).clone() for n, p in learner.named.items()}
        steps = {int(value) for key, value in learner.state().items() if key.endswith("/step")}
        if alone or mesh.get_rank() == 0:
            ranks = 1 if alone else mesh.size()
            save_file(found, directory / f"{number}-{ranks}.safetensors")
            (directory / f"{number}-{ranks}.json").write_text(
                json.dumps({"passes": passes, "steps": sorted(steps), "shared": shared(groups)})
            )
    if not alone:
        dist.barrier()
        dist.destroy_process_group()


def shared(groups: list[Group]) -> int:
    """Actions that stand in several rows: where a tree forked."""
    return sum(
        count > 1
        for group in groups
        for count in Counter(s.id for r in group.rollouts for row in r.rows for s in row.segments if s.kind == "action").values()
    )


def start(directory: Path, processes: int) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *launch, __file__, "learn", str(directory)]
    done = subprocess.run(command, env=env, timeout=DEADLINE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])


def compare(directory: Path, processes: int) -> list[dict]:
    """Per case: passes, updates, and the largest difference of any update's gradient and of the norm that was told, relative to its norm;
    the same for the weights' way from where they began."""
    rows = []
    for number, name in enumerate(CASES):
        one, many = (load_file(directory / f"{number}-{n}.safetensors") for n in (1, processes))
        assert one.keys() == many.keys(), name
        facts = [json.loads((directory / f"{number}-{n}.json").read_text()) for n in (1, processes)]
        gradients = []
        for update in range(len(facts[0]["passes"])):
            mine = [key for key in one if key.startswith(f"{update}/") and not key.endswith("/norm")]
            gradients.append(distance([one[k] for k in mine], [many[k] for k in mine], [torch.zeros_like(one[k]) for k in mine]))
            norm, said = (float(found[f"{update}/norm"]) for found in (one, many))
            gradients.append(abs(said - norm) / norm)  # what clipping goes by
        start = {f"weight/{key}": p.detach() for key, p in of(recipe(name)).parameters().items()}
        moved = sorted(start)
        weights = distance([one[k] for k in moved], [many[k] for k in moved], [start[k] for k in moved])
        rows.append({"case": name, "processes": processes, "passes": facts[0]["passes"], "gradient": max(gradients), "weights": weights})
        rows[-1]["updates"] = [f["steps"] for f in facts]
        rows[-1]["shared"] = facts[0]["shared"]
    return rows


def distance(one: list[torch.Tensor], many: list[torch.Tensor], origin: list[torch.Tensor]) -> float:
    apart = sum((a.double() - b.double()).square().sum() for a, b in zip(one, many, strict=True))
    length = sum((a.double() - o.double()).square().sum() for a, o in zip(one, origin, strict=True))
    return float((apart / length).sqrt())


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        sample(directory)
        start(directory, 1)
        print(f"{'case':36} processes  passes  updates  gradient  weights")
        for processes in (2, 4):
            start(directory, processes)
            print("\n".join(map(line, compare(directory, processes))))


def line(row: dict) -> str:
    passes, updates = "+".join(map(str, row["passes"])), "=".join(str(u[0]) for u in row["updates"])
    return f"{row['case']:36} {row['processes']:9}  {passes:>6}  {updates:>7}  {row['gradient']:8.1e}  {row['weights']:7.1e}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"sample": sample, "learn": learn}[sys.argv[1]](Path(sys.argv[2])) if len(sys.argv) > 1 else main()
