"""Coverage (arXiv:2505.20278): learn from the examples that tie together what is not reached yet.

A network that matches patterns can be right, but by luck, only where exchanges of fragments that were seen to act alike lead from its
training set to the question. That is known before anything is trained: `strop lab coverage` tells it of every held-out question. This is
what one would train on its strength. Supervised learning from a share of a source's tasks, and beside them from those of its others that
cover most of what these leave uncovered; at equal tokens a chosen example stands for several drawn ones.

Needs questions of a few tokens, all as many, whose answers are a function of them. Left out: the bridge written out before the answer is
the source's to give (`Demos(text="worked")`), and the circuits that the paper finds inside its networks.
"""

from strop.methods.sft import SFT
from strop.seams.curriculum import Connecting

COVERAGE = SFT.but("coverage", paper="2505.20278", idea=("curriculum",), curriculum=Connecting())
