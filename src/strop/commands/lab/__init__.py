"""Studies of a model, a run or a method that train nothing. Each has flags of its own: strop lab NAME --help

strop lab bias METHOD                  exact bias and variance of a method's gradient, in a world small enough to count
strop lab influence RUN                which of its examples moved it, and towards what
strop lab history MODEL_OR_RUN         what is answered once against what is answered again and again: the B-score
strop lab tricks                       four tricks of policy gradients, alone and together
strop lab coverage TASK_OR_RUN         which held-out questions a training set can teach at all
strop lab probe MODEL_OR_RUN           how likely the right answer is after each beginning of a reply
strop lab tools MODEL_OR_RUN           how well calls are made: the rules of MCP-Bench
strop lab proofs                       what a checker of proofs lets through, and what a negation filter drops
"""

from __future__ import annotations

import argparse

STUDIES = {
    "bias": ("strop.commands.lab.bias", "exact bias and variance of a method's gradient"),
    "influence": ("strop.commands.lab.influence", "which of a run's examples moved it, and towards what"),
    "tricks": ("strop.commands.lab.tricks", "four tricks of policy gradients, alone and together"),
    "coverage": ("strop.commands.lab.coverage", "which held-out questions a training set can teach at all"),
    "probe": ("strop.commands.lab.probe", "how likely the right answer is after each beginning of a reply"),
    "tools": ("strop.commands.lab.tools", "how well calls are made, by the rules of MCP-Bench"),
    "proofs": ("strop.commands.lab.proofs", "what a checker of proofs lets through, and what a negation filter drops"),
    "history": ("strop.commands.lab.history", "what a policy answers once, against what it answers again and again in one conversation"),
}
"""Each a command in a module of its own beside this one."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", choices=STUDIES, metavar="|".join(STUDIES), help="what is studied")
