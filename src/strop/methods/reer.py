"""REER (arXiv:2509.06160): thinking found backwards from a known answer, and learned.

    search     thinking that makes the answer likely: one sweep of edits, kept where the answer gets likelier
    imitate    cross-entropy on what was found, with its answer

For texts that nobody can check but of which good ones exist. The paper's score is perplexity, the code's the mean of clipped negative
log-probabilities under a smaller model, whose first piece of the answer is given and not scored: `Refined` is the code's, and
`Refined(floor=None)` orders as perplexity does. The paper selects pieces iteratively, the code goes through the first ten once, as this
does.
"""

from strop.method import Method
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.recorded import Earlier, right_ones
from strop.seams.reward import outcome
from strop.seams.search import Cut, Refined
from strop.seams.update import Still

SEARCH = Method("reer-search", paper="2509.06160", sampler=Refined(), reward=outcome, credit=(), signals={}, update=Still(), tasks=32)
IMITATE = SFT.but("sft-found", idea=("feed",), feed=Earlier("search", right_ones()))

LINES = Cut(at=("\n",), least=1)
"""For thinking of one line a step, as `stories` has."""

REER = Program(
    "reer",
    (
        Stage("read", SFT.but("sft-reading", idea=()), steps(100), task="stories:reading=1", pace=10.0),
        Stage("search", SEARCH.but(sampler=Refined(cut=LINES)), steps(40), task="stories"),
        Stage("imitate", IMITATE, rest(), task="stories", pace=3.0),
    ),
    paper="2509.06160",
)
