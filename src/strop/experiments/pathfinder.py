"""PathFinder-PRM (arXiv:2505.19706): how it could be wrong."""

from __future__ import annotations

from strop.claims.trace import Curve, Trace
from strop.seams.part import part


@part(gives="curve")
def first_error(trace: Trace) -> Curve:
    """F1 of the first wrong step: the harmonic mean of how often it is found, and how often a solution without one is let pass."""
    return [(float(each["spent"]), f1(each["means"])) for each in trace.held_out]


def f1(means: dict[str, float]) -> float:
    found = means["caught"] / means["faulty"]
    passed = (means["mean"] - means["caught"]) / (1 - means["faulty"])
    return 2 * found * passed / (found + passed) if found + passed else 0.0
