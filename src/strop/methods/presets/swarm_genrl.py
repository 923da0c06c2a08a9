"""The swarm as its library runs it: foreign groups by the highest summed score, a sample deviation, no bound on the gradient.

Read in genrl 0.1.4: examples/rgym/data.py 286-325 (selection), trainer/grpo_trainer.py 317-335 (loss), 424-445 (credit, one Adam step a
round). The selection means to leave out groups that score nothing and cuts at the wrong place: see `top`. Left out: it loses the token
that ends a completion, of its own too, and its own completions are encoded again from their text.
"""

from strop.methods.swarm import SWARM
from strop.seams.credit import group_normalized
from strop.seams.swarm import Swarm
from strop.seams.update import AdamW

SWARM_GENRL = SWARM.but(
    "swarm@genrl-0.1.4",
    paper=SWARM.paper,
    idea=("feed", "credit", "update"),
    feed=Swarm(foreign=4, select="top"),
    credit=(group_normalized(eps=1e-8),),
    update=AdamW(lr=1e-6, clip_norm=None),
)
