"""MOOSE-Chem2 (arXiv:2505.19209): details of a plan found level by level, by whoever can say which of two is better, and learned.

    search     on each level three climbs of edits that a strict judge accepts, and one in sight of where they ended
    imitate    cross-entropy on what was found
    prefer     DPO on what the judge compared on the way

The paper stops after the search. Its levels are mechanism, concept, components, their details, conditions; two branches go on side by
side; a vote is three calls of one model, of which a fourth settles what they do not agree on, where this counts them. Levels of
`landscape` are lines, its writer and its judge are scripts: with policies, Climbed(CHEMISTRY, Drafter(), Panel()).
"""

from strop.method import Method
from strop.methods.dpo import DPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.climbs import Climbed
from strop.seams.recorded import Earlier, compared_pairs, found_ones
from strop.seams.update import Still

CHEMISTRY = (
    "the mechanism: how and why it should work",
    "the general concepts and kinds of component that the mechanism needs",
    "the specific components that stand for them",
    "all details of these components",
    "the conditions under which the experiment is done",
)
"""The paper's levels, for a policy that writes."""
SEARCH = Method("moose-search", paper="2505.19209", sampler=Climbed(branches=2), credit=(), signals={}, update=Still(), tasks=32)
IMITATE = SFT.but("sft-on-search", idea=("feed",), feed=Earlier("search", found_ones()))
PREFER = DPO.but("dpo-on-search", idea=("feed",), feed=Earlier("search", compared_pairs()))

SMALL = "landscape:levels=2,slots=4,values=5"
"""Few digits, under laws that can be learned."""

MOOSE_CHEM2 = Program(
    "moose-chem2",
    (
        Stage("search", SEARCH.but(sampler=Climbed(("line 1", "line 2"), branches=2, calls=400)), steps(20), task=SMALL),
        Stage("imitate", IMITATE, steps(150), task=SMALL, pace=10.0),
        Stage("prefer", PREFER, rest(), task=SMALL),
    ),
    paper="2505.19209",
)
