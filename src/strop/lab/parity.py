"""Does an engine draw as the learner believes it does? Log-probabilities of the same tokens by three roads, and drawn tokens against their
exact distribution, before and after a delivery of changed weights.

    python -m strop.lab.parity --engine vllm [--model pico] [--json FILE]

`sampled` is what the engine recorded while drawing, `scored` what it says of the same tokens afterwards, `embedded` what the embedded
engine says of them; each column is the largest distance from the learner, in nats. `tv` is the total variation between tokens
drawn in the least certain context and the learner's distribution, and `chance` what as many draws from that very distribution would
stay below in 99 of 100 cases.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from typing import Any

import numpy as np
import torch

from strop import cli, engines
from strop.batch import pack
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Group, Rollout, Sampling
from strop.seams.engine import Engine, Node
from strop.tasks import source

SAMPLINGS = {
    "temperature 1": Sampling(),
    "temperature 0.7": Sampling(temperature=0.7),
    "allowed ids": Sampling(allowed=tuple(range(40, 64))),
    "allowed ids at 1.3": Sampling(temperature=1.3, allowed=tuple(range(32, 128, 2))),
}
PROMPTS, ACTIONS, LONGEST = 8, 4, 40
NULLS, LEVEL = 400, 0.99


def learner_says(policy: Any, nodes: list[Node]) -> list[tuple[float, ...]]:
    """By the very pass that training makes."""
    task = source("chain").task("train", 0, 0)
    group = Group(task, tuple(Rollout((node.row(),), str(i)) for i, node in enumerate(nodes)))
    batch = pack([group], {}, {r.id: None for r in group.rollouts}, 0)
    with torch.no_grad():
        logp = policy.evaluate(batch, frozenset({"logp_T"}))["logp_T"].tolist()
    found, at = list[tuple[float, ...]](), 0
    for node in nodes:
        at += node.row().actions
        found.append(tuple(logp[at - len(node.segment.tokens) : at]))
    return found


def exact(policy: Any, tokens: tuple[int, ...], sampling: Sampling) -> np.ndarray:
    """The learner's distribution of the next token, plainly computed."""
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([tokens], device=policy.device), use_cache=False).logits[0, -1].double()
    if sampling.allowed is not None:
        barred = torch.ones(len(logits), dtype=torch.bool)
        barred[list(sampling.allowed)] = False
        logits = logits.masked_fill(barred.to(logits.device), -torch.inf)
    return (logits / sampling.temperature).softmax(-1).cpu().numpy()


def uncertain(policy: Any, nodes: list[Node]) -> tuple[int, ...]:
    """Of all contexts that these actions went through, the one whose next token the learner is least sure of."""
    best, found = -1.0, tuple[int, ...]()
    for node in nodes:
        with torch.no_grad():
            logp_TV = policy.model(input_ids=torch.tensor([node.tokens], device=policy.device), use_cache=False).logits[0].log_softmax(-1)
        start = node.length - len(node.segment.tokens)
        entropy_T = -(logp_TV.exp() * logp_TV).sum(-1)[start - 1 : -1]
        if entropy_T.max() > best:
            best, found = entropy_T.max().item(), node.tokens[: start + int(entropy_T.argmax())]
    return found


def total_variation(counts: np.ndarray, chance_V: np.ndarray) -> float:
    return float(np.abs(counts / counts.sum() - chance_V).sum() / 2)


def chance(chance_V: np.ndarray, draws: int) -> float:
    """What the distance of so many draws from their own distribution stays below, in LEVEL of all cases."""
    nulls = np.random.default_rng(0).multinomial(draws, chance_V / chance_V.sum(), size=NULLS)
    return float(np.quantile([total_variation(counts, chance_V) for counts in nulls], LEVEL))


def far(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> float:
    return max(abs(a - b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


async def compare(engine: Engine, embedded: Engine, policy: Any, sampling: Sampling, draws: int) -> dict[str, float]:
    prompts = [policy.renderer.prompt(source("chain").task("train", 0, i).prompt) for i in range(PROMPTS)]
    roots = [await engine.open(prompt, root=f"parity/{i}") for i, prompt in enumerate(prompts)]
    asked = (engine.generate(root, max=LONGEST, sampling=sampling) for root in roots for _ in range(ACTIONS))
    nodes = list(await asyncio.gather(*asked))
    learner = learner_says(policy, nodes)
    scored = list(await asyncio.gather(*(engine.score(node) for node in nodes)))
    beside = list(await asyncio.gather(*(embedded.score(node) for node in nodes)))
    open_ = await engine.open(uncertain(policy, nodes), root="parity/open")
    firsts = await asyncio.gather(*(engine.generate(open_, max=1, sampling=sampling, keep=False) for _ in range(draws)))
    chance_V = exact(policy, open_.tokens, sampling)
    counts = np.zeros(len(chance_V))
    for token, count in Counter(node.segment.tokens[0] for node in firsts).items():
        counts[token] = count
    sampled = [node.segment.logp or () for node in nodes]
    return {
        "tokens": sum(map(len, learner)),
        "sampled": far(sampled, learner),
        "scored": far(scored, learner),
        "embedded": far(beside, learner),
        "ids": int((chance_V > 1e-3).sum()),
        "tv": total_variation(counts, chance_V),
        "chance": chance(chance_V, draws),
    }


def table(policy: Any, engine: Engine, embedded: Engine, draws: int) -> list[dict[str, Any]]:
    """A line for each sampling, with the weights as they are and after they moved and were delivered."""
    rows: list[dict[str, Any]] = []
    for version in (0, 1):
        if version:
            torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
            with torch.no_grad():
                for parameter in policy.parameters().values():
                    parameter.add_(torch.randn_like(parameter) * 0.01)
            engine.deliver(1)
            embedded.deliver(1)
        engine.begin(version)
        for name, sampling in SAMPLINGS.items():
            found = asyncio.run(compare(engine, embedded, policy, sampling, draws))
            rows.append({"weights": f"delivery {version}", "sampling": name, **found})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="vllm", metavar="NAME", help="as in a recipe [vllm]")
    parser.add_argument("--model", default="pico", metavar="NAME")
    parser.add_argument("--draws", type=int, default=400, metavar="N", help="tokens drawn for each line's distribution [400]")
    parser.add_argument("--limit", type=float, default=1e-3, metavar="X", help="exit code 1 where a log-probability is further off [0.001]")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE")
    args = parser.parse_args()
    policy = load(args.model, device="cpu")
    recipe = Recipe(model=args.model, engine=args.engine)
    embedded = engines.build(policy, recipe.but(engine="embedded"))
    rows = table(policy, engines.build(policy, recipe), embedded, args.draws)
    head = list(rows[0])
    cells = [[f"{row[name]:.1e}" if name in ("sampled", "scored", "embedded") else row[name] for name in head] for row in rows]
    cli.answer(args, {"engine": args.engine, "model": args.model, "draws": args.draws, "rows": rows}, cli.table(cells, head))
    bad = [row for row in rows if max(row["sampled"], row["scored"]) > args.limit or row["tv"] > row["chance"] * 1.5]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
