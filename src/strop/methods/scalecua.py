"""ScaleCUA (arXiv:2509.15221): an agent that uses screens learns from few goals that people set, and from many walks that nobody did.

    goals     an expert reaches what was asked for, on a shortest way
    walks     by chance, without a goal; each piece is labelled afterwards with the goal that it happened to reach
    learn     cross-entropy on what was done; screens and goals are context. One grammar of actions for all platforms, three modes: where
              something is, what to do, and what to do with a thought before it

There is no reinforcement in it. The paper's walks are cut where screens become alike and labelled by a vision model; here they are cut at
lengths by chance and labelled by a program that is always right (`tasks/screens.py`). Its screens are pictures, these are text.
"""

from strop.methods.sft import SFT
from strop.program import Program, Stage, rest
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.worlds.calls import Line

SHORT = Episodes(n=8, turns=10, max_tokens=26, observation=64, calls=Line())
"""Room for a goal of five actions, some more, and the last word."""

TAUGHT = SFT.but("sft-screens", paper="2509.15221", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SHORT, tasks=16)

SCALECUA = Program(
    "scalecua",
    (Stage("imitate", TAUGHT, rest(), task="screens:goals=300,walks=16,mode=mixed", pace=10.0),),
    paper="2509.15221",
)
