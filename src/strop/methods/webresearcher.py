"""WebResearcher (arXiv:2509.13309): an agent that writes a report each round and goes on from it alone, trained on every round.

    sample    a round sees the question, the last report and the world's last answer; the policy writes the next report and an action
    credit    each round earns the rollout's verdict, against all rounds of its question: one of n rounds stands n times in mean and spread
    loss      one ratio per round, and the mean over a question's rounds: a rollout of n rounds weighs n

Against `resum-grpo` the policy itself writes what is carried on, so reports are trained; and statistics count rounds instead of rollouts.
Where failures run longer than successes the baseline lies below the share of successes. The paper does not say what a round earns, nor its
clip range: here the rollout's verdict and GSPO's range. `ROLLOUT` takes mean and spread over rollouts. `DISCOUNTED` is the follow-up's
(arXiv:2511.07327): a round earns the less, the more of them stand behind it.

Left out: dropping rounds by chance down to a multiple of the data-parallel size, since nothing here needs one; the report's thought,
which nobody sees again; questions between unsolvable without tools and solvable with them; agents in parallel and their synthesis.
"""

from strop.methods.gspo import GSPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.credit import by_row, row_standardized
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.objective import row_ratio
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.window import Report
from strop.worlds.calls import Hermes

WEBRESEARCHER = GSPO.but(
    "webresearcher",
    paper="2509.13309",
    idea=("sampler", "credit", "signals.policy"),
    sampler=Episodes(n=8, turns=16, max_tokens=256, observation=128, window=Report(), calls=Hermes()),
    credit=(by_row(), row_standardized()),
    signals={"policy": Signal(row_ratio(), reduce=means("group", "row"))},
)

ROLLOUT = WEBRESEARCHER.but("webresearcher-rollout", idea=("credit",), credit=(by_row(), row_standardized(over="rollout")))
DISCOUNTED = WEBRESEARCHER.but("webresearcher-discounted", idea=("credit",), credit=(by_row(gamma=0.995), row_standardized()))

ROUNDS = Episodes(n=8, turns=26, max_tokens=28, observation=8, window=Report("r", most=12, limit=56))
"""Of `stream`: a report of the three facts that are asked for, or of four, and a row that holds it, one output and what is said to it."""

IMITATED = SFT.but("sft-stream", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=ROUNDS, tasks=2)
ON_STREAMS = WEBRESEARCHER.but("webresearcher-streams", idea=("sampler",), sampler=ROUNDS, tasks=4)

WEBRESEARCHER_STREAM = Program(
    "webresearcher-stream",
    (
        Stage("imitate", IMITATED, steps(300), task="stream", pace=10.0),
        Stage("explore", ON_STREAMS, rest(), task="stream"),
    ),
    paper="2509.13309",
)
