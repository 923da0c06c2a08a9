"""Programs of others as guests: they ask, and the model that answers them is trained. docs/guests.md has the commands.

Each runs under a Python of its own: STROP_AGENT_PYTHON names the one for the agent, which uses the `openai` package where it has it,
STROP_VERIFIERS_PYTHON the one that has `verifiers` 0.4. strop's own Python needs neither.
"""

import os
import sys
from pathlib import Path

from strop.methods.grpo import GRPO
from strop.serving.guest import Guest
from strop.worlds import verifiers_side

HERE = Path(__file__).parent
PLAY = Path(verifiers_side.__file__).parent / "play.py"

AGENT = GRPO.but(
    "agent",
    idea=("sampler",),
    sampler=Guest(
        (os.environ.get("STROP_AGENT_PYTHON") or sys.executable, str(HERE.parent / "guest_agent.py")),
        turns=2,
        max_tokens=64,
        context=256,
        repeats="exact",
    ),
)

SUMS = GRPO.but(
    "verifiers-sums",
    idea=("sampler",),
    sampler=Guest(
        (os.environ.get("STROP_VERIFIERS_PYTHON") or sys.executable, str(PLAY), "sums_again", "steps=2", "--path", str(HERE)),
        turns=2,
        max_tokens=64,
        context=256,
        stays=2,
    ),
)
