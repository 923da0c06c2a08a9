"""Memento (arXiv:2508.16153): the policy stays as it is, and what it is reminded of is learned.

    read      of the cases so far, k = 4 are put before a question: those behind which it is likeliest solved
    write     the task, what was written and what that earned, right or wrong
    learn     a small net of (task, case): -r log q - (1 - r) log(1 - q), where r is what became of the task

`memento-grpo` trains the policy too.
"""

from strop.method import Method
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.memory import Bank, Likely
from strop.seams.sampler import Independent
from strop.seams.update import Still

REMINDED = Method("reminded", memory=Bank(Likely(), k=4), sampler=Independent(n=1), credit=(), signals={}, update=Still(), tasks=8)

MEMENTO_GRPO = GRPO.but("memento-grpo", paper="2508.16153", idea=("memory",), memory=Bank(Likely(), k=4))

MEMENTO = Program(
    "memento",
    (
        Stage("adapt", SFT.but("sft-errands", tasks=32), steps(200), task="errands:shown=4", pace=3.0),
        Stage("remember", REMINDED.but(sampler=Independent(n=1, max_tokens=16)), rest(), task="errands"),
    ),
    paper="2508.16153",
)
"""The bundled model learns to take a plan that it is shown; then it stays as it is, and its bank grows."""
