"""WebSailor-V2 (arXiv:2509.13305): questions cut out of graphs with cycles, credit without a spread, and a word for every way to end.

    questions   walks in graphs, open and closed, each with one answer (`tasks/graphs.py`)
    credit      A = R - mean(R over the group), not divided by its spread
    loss        mean over all tokens of the step, observations masked, clipped higher as DAPO clips
    ends        cut without an answer: counted and not trained; broken format or call: punished; lost tool: nobody's score (`seams/ends.py`)

The paper calls its baseline leave-one-out, and prints the mean over all of a group: the two differ by G / (G - 1), one factor for all.
DUPO, of the first WebSailor and in this number's abstract, is `dupo`; here larger groups take its place. Group size, rate, clips and the
size of a punishment are not printed: 16, the recipe's, DAPO's and -0.5 are strop's choice. The managed web is `worlds/managed.py`, around
any world.
"""

from __future__ import annotations

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.credit import group_centered
from strop.seams.ends import Ends
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.worlds.calls import Hermes, Line

ENDS = Ends(cut="context", form=-0.5, call=-0.5)

WEBSAILOR = GRPO.but(
    "websailor-grpo",
    paper="2509.13305",
    idea=("sampler", "graders", "reward", "gate", "credit", "signals.policy"),
    sampler=Episodes(n=16, turns=16, max_tokens=128, observation=128, calls=Hermes()),
    graders=ENDS.graders,
    reward=ENDS.reward,
    gate=(ENDS,),
    credit=(group_centered(),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=means("token"))},
)

LOOKS = Episodes(n=16, turns=12, max_tokens=20, observation=16, calls=Line())
"""Of `graphs`, for the bundled model: a look or an answer, and whom a node is linked with."""
SHORT = "graphs:least=4,most=4,blur=1,sided=1,each=2"
"""Walks of four steps, told by kinds and halves; where one closes, neither side tells enough."""

IMITATED = SFT.but("sft-graphs", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=LOOKS, tasks=32)
ON_GRAPHS = WEBSAILOR.but("websailor-graphs", idea=("sampler",), sampler=LOOKS, tasks=8)

WEBSAILOR_PROGRAM = Program(
    "websailor",
    (
        Stage("imitate", IMITATED, steps(400), task=SHORT, pace=10.0),
        Stage("reinforce", ON_GRAPHS, rest(), task=SHORT),
    ),
    paper="2509.13305",
)
"""Follows an expert's looks, and goes on alone."""
