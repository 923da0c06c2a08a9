"""DUPO (arXiv:2509.13305): fill a step with copies of the groups that differ, instead of sampling more.

Against DAPO: no further rounds of sampling, and the verdict must differ, not the whole reward. What it equals depends on the denominator:
under a mean over all tokens copies change numerator and denominator alike, so it is dropping in expectation, with noise; against a fixed
count it is the flat groups' weight given to the others. What stays for certain is the number of updates per batch, here four.

DUPO belongs to the first WebSailor (arXiv:2507.02592, section 4.2); the second, under this number, takes larger batches instead. The
paper's 0.1 for format is left out, and what DAPO does with overlong replies.
"""

from strop.methods.dapo import DAPO
from strop.seams.gate import DropFlat, Duplicate
from strop.seams.update import AdamW

DUPO = DAPO.but(
    "dupo",
    paper="2509.13305",
    idea=("gate",),
    gate=(DropFlat(of="outcome"), Duplicate()),
    update=AdamW(minibatch=8),
)
