"""ReSum-GRPO (arXiv:2509.13313): an agent whose row is summarised and begun anew, trained on every row that comes of it.

    sample    the row is closed where it is nearly full; the next begins with the question and a summary by a policy that nobody trains
    credit    of a rollout's verdict against its siblings', to all of its rows alike
    loss      one ratio per row, and the mean over a group's rows: a rollout of n rows weighs n times one of a single row

Without a restart it is GSPO. The paper prints "the importance ratio of segment i" and no clip range; the ratio here is GSPO's, by row, with
GSPO's range. `RESUM_ROLLOUT` weighs every rollout once instead. A summary is input: what its policy writes is on that policy's bill.

The paper's own set-up is 60 calls in 32,768 tokens, with answers of the web; the sizes here are a laptop's. In its code the limit counts
calls of the model, and a turn with neither call nor answer goes on; in its algorithm it is a failure. Here a rollout has so many turns, and
what a turn without a call costs is the world's to say.
"""

from strop.methods.gspo import GSPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.asked import Asked
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.objective import row_ratio
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.window import By, Summarised
from strop.worlds.calls import Hermes, Line
from strop.worlds.wiki import Extract

RESUM = GSPO.but(
    "resum-grpo",
    paper="2509.13313",
    idea=("sampler", "policies", "signals.policy"),
    sampler=Episodes(n=8, turns=16, max_tokens=128, observation=128, window=Summarised(By("summary", most=128)), calls=Hermes()),
    policies={"summary": Asked("initial")},
    signals={"policy": Signal(row_ratio(), reduce=means("group", "row"))},
)

RESUM_ROLLOUT = RESUM.but(
    "resum-grpo-rollout",
    idea=("signals.policy",),
    signals={"policy": Signal(row_ratio(), reduce=means("group", "rollout", "row"))},
)

SHORT = Episodes(n=8, turns=6, max_tokens=10, observation=20, calls=Line())
"""Room for a chain of four cards, of which everything is still seen."""
LONG = Episodes(n=8, turns=16, max_tokens=10, observation=20, calls=Line(), window=Summarised(Extract(), limit=96))
"""A third of what a chain of twelve needs."""

TAUGHT = SFT.but("sft-wiki", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SHORT)
ON_CARDS = RESUM.but("resum-cards", idea=("sampler",), sampler=LONG, policies={}, tasks=8)

RESUM_PROGRAM = Program(
    "resum",
    (
        Stage("imitate", TAUGHT, steps(120), task="wiki:known=0.5", pace=10.0),
        Stage("summarised", ON_CARDS, rest(), task="wiki:least=4,most=12"),
    ),
    paper="2509.13313",
)
