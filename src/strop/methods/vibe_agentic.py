"""Vibe and agentic coding (arXiv:2505.19443): one task of repair under two contracts, with a user who is asked or with tests that are run.

    vibe      a person knows what is wanted: the policy asks, one question a turn, and edits
    agentic   a machine knows what happens: the policy runs tests, reads traces, and edits
    judge     hidden tests, the same for both, at as many turns and tokens

The paper is a review: it has neither algorithm nor number. What it contrasts is a world here (`worlds/repair.py`), in which tools are the
task's contract; `VIBE_AGENTIC_GRPO` is paid for whole repairs under any of them. `VIBE_AGENTIC` imitates experts of all contracts
first, in a stack language that stands in for a real one. Left out: who accepts or rejects, memory, safety, and every other axis.
"""

from dataclasses import replace

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.worlds.calls import Hermes, Line

VIBE_AGENTIC_GRPO = GRPO.but(
    "vibe-agentic-grpo",
    paper="2505.19443",
    idea=("sampler",),
    sampler=Episodes(n=8, turns=16, max_tokens=256, observation=256, calls=Hermes()),
)

SHORT = Episodes(n=8, turns=8, max_tokens=12, observation=20, calls=Line())
"""Of `repair`: three cases that are found, mended and tried again, whatever the contract."""

IMITATED = SFT.but("sft-repair", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SHORT)
REWARDED = VIBE_AGENTIC_GRPO.but("vibe-agentic-repair", idea=("sampler",), sampler=replace(SHORT, n=4), tasks=4)

VIBE_AGENTIC = Program(
    "vibe-agentic",
    (
        Stage("imitate", IMITATED.but("sft-repair-8", tasks=8), steps(400), task="repair:contract=all", pace=10.0),
        Stage("rewarded", REWARDED, rest(), task="repair:contract=all"),
    ),
    paper="2505.19443",
)
