"""A second signal with a schedule: entropy is paid for in the first part of a run, then no more.

strop train --method examples/own/schedule.py
"""

from strop.methods.grpo import GRPO
from strop.seams.objective import entropy_bonus
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal


@part(gives="factor", formula="factor = {start} * max(1 - fraction / {until}, 0)")
def early(fraction: float, *, start: float = 0.01, until: float = 0.5) -> float:
    """From `start` down to 0 when `until` of the run is done."""
    return start * max(1 - fraction / until, 0.0)


CURIOUS = GRPO.but("curious", signals={"entropy": Signal(entropy_bonus(), reduce=means("token"), weight=early())})
