"""Infra (arXiv:2505.19949): how it could be wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.methods.infra import INFRA, LEVELS, mixed
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.curriculum import Mixed, State, label
from strop.seams.part import part
from strop.seams.signal import warmup_cosine
from strop.seams.source import Source
from strop.seams.update import AdamW

DOMAINS = tuple(LEVELS)
MEMBERS = tuple((name, steps) for name, levels in LEVELS.items() for steps in levels)
"""Domains and operations of the tasks; held-out ones take turns in this order."""
TASK = f"pool:16000:{'+'.join(f'{name}:steps={steps}' for name, steps in MEMBERS)}"
HARD = LEVELS["chain"][2]
"""Operations of the hard chains that are asked: their own share is the same in every arm."""
CODE_ASKED = LEVELS["stacks"][1:3]


@dataclass(frozen=True)
class DealtShares:
    """Even shares, but what the easiest and the hardest level of a domain have together is divided between them by chance: in another way
    for each domain and seed."""

    steady: ClassVar[bool] = True

    def of(self, seed: int) -> Mixed:
        easy = [2 * keyed(seed, "dealt", domain).random() for domain in DOMAINS]
        math, code = ((one, 1, 1, 2 - one) for one in easy)
        return mixed(math, code)

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


SHARED: dict[str, Any] = {
    "regime": "on chains and stack programs, from pico, at as many tokens of each domain and of what is asked",
    "method": "infra",
    "recipe": Recipe(model="pico", task=TASK, steps=100_000, lr=1e-3, checkpoint_every=100_000),
    "arms": (
        Arm("flipped", arm("infra-flipped", INFRA.curriculum)),
        Arm("random", arm("infra-random", DealtShares()), control="divided between the easiest and the hardest by chance", random=True),
        Arm("uniform", arm("infra-uniform", mixed((1, 1, 1, 1), (1, 1, 1, 1))), control="even shares"),
        Arm("turned", arm("infra-turned", mixed((2, 1, 1, 0), (0, 1, 1, 2))), control="easy mathematics and hard code"),
    ),
    "compare": ("flipped", "random"),
    "checks": (
        Check("the hardest mathematics is trained: its share of all tokens", share(of="chain 6"), "flipped", least=0.24),
        Check("both domains have as many tokens: 1 less their distance", alike(), "flipped", least=0.99),
        Check("both domains have as many tokens: 1 less their distance", alike(), "random", least=0.99),
        Check("what is asked has as many tokens: its share of all", share(of=f"chain {HARD}"), "flipped", least=0.12),
        Check("what is asked has as many tokens: its share of all", share(of=f"chain {HARD}"), "random", least=0.12),
        Check("hard chains are learned", reached(domain="chain", levels=(HARD,)), "flipped", least=0.1),
    ),
    "held_out": HeldOut(tasks=300 * len(MEMBERS), samples=1, at=(1.0,), max_tokens=72, temperature=0.0),
    "profiles": {
        "quick": Profile((0,), "200000 trained", 1, arms=("flipped", "random")),
        "full": Profile((0, 1, 2, 3, 4), "200000 trained", 6, arms=("flipped", "random")),
        "extended": Profile((0, 1, 2, 3, 4), "200000 trained", 12),
    },
    "selects": True,
    "pitfalls": "Chains of five operations have an eighth of all tokens in both arms, so no gain is more practice at what is asked; chains "
    "of six, of which the mix on trial has more, are the most like them. pico has met chains of four, and no stack program.",
}


MIX = Claim(
    "infra-mix",
    mechanism="Giving the share of the easiest mathematics to the hardest, and that of the hardest code to the easiest,",
    consequence="raises accuracy on hard chains by 0.03 or more over shares divided by chance",
    measure=accuracy(domain="chain", levels=(HARD,)),
    threshold=0.03,
    refuted_if="the interval of the paired difference lies below 0.03",
    pilot=(-0.1833, -0.17, -0.0433),  # strop claim run infra-mix infra-code --profile pilot
    **SHARED,
)

CODE = Claim(
    "infra-code",
    mechanism="Giving the share of the easiest mathematics to the hardest, and that of the hardest code to the easiest,",
    consequence="keeps accuracy on stack programs within 0.01",
    measure=accuracy(domain="stacks", levels=CODE_ASKED),
    threshold=0.01,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.01, 0.01]",
    pilot=(-0.0583, -0.0733, -0.0683),
    **SHARED,
)
