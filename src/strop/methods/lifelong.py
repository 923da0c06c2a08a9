"""Lifelong safety alignment (arXiv:2505.20259): an attacker who reads its failures, a defender who refuses what got through, in turns.

    attack      8 proposals a goal; then, for the goals that are open, 8 more behind failures that are shown; until 95 % are closed
    attacker    SFT on every success as if it had been a first try, from where the attacker stood
    defender    SFT on every success -> a refusal, mixed with benign texts, from the weights it began with

There is no policy gradient: what either side learns from is what got through. Both buffers grow: the second round's defender learns from
the first round's successes too. An attempt is unsafe by the judge's rule of two voices, `strop.seams.attacks.is_unsafe`.

The paper tunes its attacker twice in a round, at a midpoint and at its end; here once, at the end. Its attacker and defender are two
models; here both begin as one that was taught both sides (`begin`), and that refuses the known attacks.
"""

from dataclasses import replace

from strop.method import Method
from strop.methods.sft import SFT
from strop.program import INITIAL, Program, Repeat, Stage, share, steps, when
from strop.records import Sampling
from strop.seams.asked import Trained
from strop.seams.attacks import ATTACK, ATTACKED, Attacks, Rounds, closed_enough, first_tries, refusals
from strop.seams.curriculum import Epochs
from strop.seams.feed import WithDemos
from strop.seams.recorded import Earlier
from strop.seams.reduction import means
from strop.seams.role import Role
from strop.seams.update import Still

COLLECT = Method(
    "lifelong-attack",
    paper="2505.20259",
    curriculum=Epochs(),
    feed=Rounds(),
    sampler=Attacks(),
    credit=(),
    signals={},
    update=Still(),
    policies={"attacker": Trained()},
    roles={ATTACK: ATTACKED},
    tasks=200,
)
"""The attacker is one that is trained, so that later stages go on from where it stands; this stage moves nobody."""

ATTACKER = SFT.but(
    "lifelong-attacker",
    paper="2505.20259",
    idea=("feed", "roles", "policies"),
    feed=Earlier("attack", first_tries(), every=True),
    policies={"attacker": Trained()},
    roles={"demo": Role(policy="attacker")},
    tasks=32,
)

DEFENDER = SFT.but(
    "lifelong-defender",
    paper="2505.20259",
    idea=("feed",),
    feed=WithDemos(Earlier("attack", refusals(), every=True), demos=32),
    tasks=32,
)

WIDE = Attacks(n=8, max_tokens=20, reply=8, sampling=Sampling(temperature=2.0))
"""A small model that was taught some ways writes nothing else at 1; at 2 it errs, and some errors can still be read."""

SMALL = COLLECT.but("lifelong-attack-small", idea=("sampler",), sampler=WIDE, tasks=80)
"""Of texts of 16 symbols."""


def turns(attack: Method = SMALL, begins: str = INITIAL, times: int = 2) -> Repeat:
    """The paper's loop on `goals` and `duel`. A budget in positions trained is the defender's, a part of it in each turn."""
    return Repeat(
        times,
        (
            Stage("attack", attack, when(closed_enough(share=0.95), at_most=3), task="goals"),
            Stage("attacker", ATTACKER, steps(20), task="goals", pace=5.0),
            Stage("defender", DEFENDER, share(1 / times), task="duel:attacks=0.25", begins=begins, pace=5.0),
        ),
    )


ROWS_ALIKE = {"teacher": SFT.signals["teacher"].but(reduce=means("rollout", "token"))}
"""A refusal is as much as an attack, which has four times its tokens."""

BEGIN = Stage("begin", SFT.but("lifelong-begin", idea=("signals",), signals=ROWS_ALIKE, tasks=32), steps(600), task="drill", pace=10.0)

LIFELONG = Program("lifelong", (BEGIN, turns(begins="begin")), paper="2505.20259")

RELEASED = SMALL.but("lifelong-attack-released", idea=("sampler",), sampler=replace(WIDE, dropped=True))
LIFELONG_RELEASED = Program(
    "lifelong-released",
    (BEGIN, turns(RELEASED, "begin")),
    paper="2505.20259",
)
"""As the released scripts do it: an attempt whose judge gave no score is gone."""
