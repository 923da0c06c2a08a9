"""Infra (arXiv:2505.19949): how it could be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any, ClassVar

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.methods.infra import LEVELS, mixed
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.curriculum import Mixed, State, label
from strop.seams.part import part
from strop.seams.signal import warmup_cosine
from strop.seams.source import Source
from strop.seams.update import AdamW

DOMAINS = ("chain", "stacks")
MEMBERS = tuple(product(DOMAINS, range(LEVELS[0], LEVELS[-1] + 1)))
"""Domains and operations of the tasks there are; held-out ones take turns in this order, and trained on are those of `LEVELS` alone."""
TASK = f"pool:12000:{'+'.join(f'{name}:steps={steps}' for name, steps in MEMBERS)}"
MIDDLE, HARD = 3, 5
"""Operations of what is asked: levels that no arm is trained on."""


@dataclass(frozen=True)
class DealtShares:
    """The same shares in each domain, dealt to its levels by chance: another deal for each seed."""

    inner: Mixed
    steady: ClassVar[bool] = True

    def of(self, seed: int) -> Mixed:
        shares = dict[str, float]()
        for domain in DOMAINS:
            own = {name: share for name, share in self.inner.shares.items() if name.startswith(domain)}
            shares |= dict(zip(own, keyed(seed, "dealt", domain).sample([*own.values()], len(own)), strict=True))
        return replace(self.inner, shares=shares)

    def init(self, source: Source) -> State:
        return {}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        mix = self.of(ctx.seed)
        return mix.pick(n, state or mix.init(ctx.source), ctx)

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        mix = self.of(ctx.seed)
        return mix.observe(state or mix.init(ctx.source), groups, scores, ctx)


@part(gives="curve")
def accuracy(trace: Trace, *, domain: str, levels: tuple[int, ...]) -> Curve:
    """Greedy accuracy on the held-out tasks of a domain at these levels: each level counts alike."""
    found = Curve()
    for said, kept in zip(trace.held_out, trace.values, strict=True):
        each = kept["values"]["pass@1"]
        of = [[v for n, v in enumerate(each) if MEMBERS[n % len(MEMBERS)] == (domain, level) and v is not None] for level in levels]
        found.append((float(said["spent"]), fmean(map(fmean, of))))
    return found


def tokens(trace: Trace) -> Counter[str]:
    """What was learned from, by class."""
    found = Counter[str]()
    for groups, _ in trace.steps():
        for group in groups:
            taught = (s for r in group.rollouts for row in r.rows for s in row.segments if s.kind == "teacher")
            found[label(group.task, ("source", "steps"))] += sum(len(segment.tokens) for segment in taught)
    return found


@part(gives="number")
def share(trace: Trace, *, of: str) -> float:
    """Of all tokens that were learned from, those of a class."""
    found = tokens(trace)
    return found[of] / found.total()


@part(gives="number")
def alike(trace: Trace) -> float:
    """1 less how far the domains' shares of all tokens are apart."""
    found = tokens(trace)
    each = [sum(count for name, count in found.items() if name.startswith(domain)) / found.total() for domain in DOMAINS]
    return 1 - abs(each[0] - each[1])


@part(gives="number")
def reached(trace: Trace, *, domain: str, levels: tuple[int, ...]) -> float:
    """Where its accuracy ends."""
    return accuracy(domain=domain, levels=levels).on({"trace": trace})[-1][1]


UPDATE = AdamW(betas=(0.9, 0.98), weight_decay=0.01, schedule=warmup_cosine(warmup=0.05, floor=0.02))


def arm(name: str, curriculum: Any) -> Method:
    return SFT.but(name, idea=("curriculum", "update"), curriculum=curriculum, update=UPDATE, tasks=32)


FLIPPED = mixed(math=(0, 1, 2), code=(2, 1, 0))
SHARED: dict[str, Any] = {
    "regime": "on chains and stack programs, from a network that knew nothing, at equal tokens of each domain",
    "method": "infra",
    "recipe": Recipe(model="seedling:layers=3,hidden=96", task=TASK, steps=100_000, lr=3e-3, checkpoint_every=100_000),
    "arms": (
        Arm("flipped", arm("infra-flipped", FLIPPED)),
        Arm("random", arm("infra-random", DealtShares(FLIPPED)), control="the same shares, dealt to the levels by chance", random=True),
        Arm("uniform", arm("infra-uniform", mixed((1, 1, 1), (1, 1, 1))), control="even shares"),
        Arm("turned", arm("infra-turned", mixed((2, 1, 0), (0, 1, 2))), control="easy mathematics and hard code"),
    ),
    "compare": ("flipped", "random"),
    "checks": (
        Check("hard mathematics is trained: its share of all tokens", share(of=f"chain {LEVELS[-1]}"), "flipped", least=0.3),
        Check("both domains have as many tokens: 1 less their distance", alike(), "flipped", least=0.99),
        Check("both domains have as many tokens: 1 less their distance", alike(), "random", least=0.99),
        Check("hard chains are learned", reached(domain="chain", levels=(HARD,)), "flipped", least=0.1),
    ),
    "held_out": HeldOut(tasks=200 * len(MEMBERS), samples=1, at=(1.0,), max_tokens=72, temperature=0.0),
    "profiles": {
        "quick": Profile((0,), "480000 trained", 1, arms=("flipped", "random")),
        "full": Profile((0, 1, 2, 3, 4), "480000 trained", 6, arms=("flipped", "random")),
        "extended": Profile((0, 1, 2, 3, 4), "480000 trained", 12),
    },
    "selects": True,
    "pitfalls": "Chains of five operations are trained by no arm, but those of six are trained more by the mix on trial: some of the gain "
    "is practice at what is asked. A deal by chance is the flip itself for one domain in six.",
}


MIX = Claim(
    "infra-mix",
    mechanism="Giving the share of easy mathematics to hard mathematics, and that of hard code to easy code,",
    consequence="raises accuracy on hard chains by 0.03 or more over shares dealt by chance",
    measure=accuracy(domain="chain", levels=(HARD,)),
    threshold=0.03,
    refuted_if="the interval of the paired difference lies below 0.03",
    **SHARED,
)

CODE = Claim(
    "infra-code",
    mechanism="Giving the share of easy mathematics to hard mathematics, and that of hard code to easy code,",
    consequence="keeps accuracy on stack programs within 0.01",
    measure=accuracy(domain="stacks", levels=(MIDDLE, HARD)),
    threshold=0.01,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.01, 0.01]",
    **SHARED,
)


def at_levels(trace: Trace, levels: Sequence[int] = range(LEVELS[0], LEVELS[-1] + 1)) -> dict[str, float]:
    """Accuracy at every level of each domain, for a table."""
    return {f"{domain} {level}": reached(domain=domain, levels=(level,)).on({"trace": trace}) for domain in DOMAINS for level in levels}
