"""DPO (arXiv:2305.18290): learn from pairs of texts, the better one of each known, without sampling.

    loss   -log sigmoid(beta * (h of the chosen text - h of the rejected one)), h = sum of logp - reference_logp

From a file (`--data pairs.jsonl` with prompt, chosen and rejected), or from what an earlier stage of a program sampled.
"""

from strop.method import Method
from strop.seams.preference import dpo
from strop.seams.recorded import Pairs
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher, warmup_cosine
from strop.seams.update import AdamW

DPO = Method(
    "dpo",
    paper="2305.18290",
    feed=Pairs(),
    credit=(),
    signals={"prefer": Signal(dpo(beta=0.1), on=teacher, reduce=means("group"))},
    reference=True,
    update=AdamW(lr=5e-7, schedule=warmup_cosine(warmup=0.1)),
    tasks=32,
)
