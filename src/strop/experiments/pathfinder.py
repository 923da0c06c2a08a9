"""PathFinder-PRM (arXiv:2505.19706): how it could be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.methods.pathfinder import PATHFINDER, SHORT, Judged
from strop.methods.sft import SFT_WORKED
from strop.recipe import Recipe
from strop.seams.part import part
from strop.seams.steps import Judge, lines_of
from strop.tasks.judging import right


@part(gives="curve")
def first_error_f1(trace: Trace) -> Curve:
    """The harmonic mean of two shares: of faulty solutions whose first wrong step is named, and of right ones in which none is."""
    return [(said["spent"], harmonic(**{name: said["means"][name] for name in ("mean", "faulty", "caught")})) for said in trace.held_out]


def harmonic(mean: float, faulty: float, caught: float) -> float:
    """Of shares of all solutions: those judged right, those that are faulty, those of these that are judged right.

    >>> round(harmonic(mean=0.4, faulty=0.5, caught=0.1), 4)
    0.3
    """
    found, cleared = caught / faulty, (mean - caught) / (1 - faulty)
    return 2 * found * cleared / (found + cleared) if found + cleared else 0.0


def steps(trace: Trace) -> Iterator[tuple[Sequence[int], list[bool], float]]:
    """Of every step of the held-out solutions its labels, and at the end what was said of it: a flag for each way, and the score."""
    for told in trace.replies[-1]:
        said = lines_of(told["texts"][0])
        yield from ((labels, *SHORT.heard(line)) for labels, line in zip(told["needs"]["labels"], said, strict=True))


@part(gives="number")
def way_found(trace: Trace, *, way: int) -> float:
    """Of the steps that are wrong in this way the share that is said to be, less that of the other wrong ones: 0 for who cannot tell."""
    flagged: dict[int, list[bool]] = {0: [], 1: []}
    for labels, flags, _ in steps(trace):
        if not right(labels):
            flagged[labels[way]].append(not flags[way])
    return fmean(flagged[0]) - fmean(flagged[1])


@part(gives="number")
def ways_unfound(trace: Trace) -> float:
    """1 less the better found of both ways."""
    return 1 - max(way_found(trace, way=way) for way in (0, 1))


@part(gives="number")
def verdict_auc(trace: Trace) -> float:
    """Among steps that are right in both ways: how often a right one scores above a useless one; half of the ties."""
    scores: dict[int, list[float]] = {0: [], 1: []}
    for labels, _, score in steps(trace):
        if all(labels[:2]):
            scores[right(labels)].append(score)
    return fmean((above > below) + (above == below) / 2 for above, below in product(scores[1], scores[0]))


@part(gives="number")
def useless(trace: Trace) -> float:
    """Share of the held-out wrong steps that are right in both ways."""
    return fmean(all(labels[:2]) for labels, _, _ in steps(trace) if not right(labels))


@part(gives="number")
def unseen(trace: Trace) -> float:
    """Share of the held-out walks whose two ends were not trained on."""
    seen = {group["task"]["needs"]["question"] for record in trace.records() for group in record["groups"]}
    return fmean(told["needs"]["question"] not in seen for told in trace.replies[-1])


def judge(name: str, feed: Judged) -> Method:
    return PATHFINDER.but(name, idea=("feed",), feed=feed, tasks=4)


TYPES = Claim(
    "pathfinder-types",
    mechanism="Saying of a step in which way it is wrong, before whether it is right,",
    consequence="raises the F1 of the first wrong step by 0.03 or more over types dealt at random from other wrong steps",
    regime="on walks around a lake, at the same labelled steps and trained positions, from a base that marks what is wrong with a move",
    method="pathfinder",
    recipe=Recipe(task="walks", steps=2000, lr=1e-3, checkpoint_every=2000),
    base=Recipe(method=SFT_WORKED, task="walks:judged=0,wrong=0.5", tasks=32, steps=400, lr=3e-3, eval_tasks=0, checkpoint_every=400),
    arms=(
        Arm("typed", judge("pathfinder-typed", Judged(SHORT))),
        Arm(
            "permuted",
            judge("pathfinder-permuted", Judged(SHORT, permuted=64)),
            control="labels of other wrong steps, dealt from those of 64 other tasks: the verdicts stay, the types say nothing",
        ),
        Arm(
            "flat",
            judge("pathfinder-flat", Judged(replace(SHORT, shown=False))),
            control="the same labels, and the verdict sees none of them",
        ),
        Arm(
            "single",
            judge("pathfinder-single", Judged(replace(SHORT, ways=()))),
            control="the verdict alone; a step makes one row and not two, so this arm sees more solutions",
        ),
    ),
    compare=("typed", "permuted"),
    measure=first_error_f1(),
    threshold=0.03,
    refuted_if="the interval of the paired difference lies below 0.03",
    profiles={
        "quick": Profile((0,), "200000 trained", 3, arms=("typed", "permuted")),
        "full": Profile((4, 5, 6, 7), "400000 trained", 12, arms=("typed", "permuted")),
        "extended": Profile((4, 5, 6, 7), "400000 trained", 25),
    },
    checks=(
        Check("types are learned: ways back are said to be, less the other wrong moves", way_found(way=0), "typed", least=0.2),
        Check("and so are moves from elsewhere", way_found(way=1), "typed", least=0.2),
        Check("permuted types teach none: 1 less the better found", ways_unfound(), "permuted", least=0.9),
        Check("the veto does not do all the work: AUC of the score among steps right in both ways", verdict_auc(), "typed", least=0.6),
        Check("wrong steps that are right in both ways", useless(), "typed", least=0.25),
        Check("held-out walks have other ends than those trained on", unseen(), "typed", least=1.0),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(0.5, 1.0), max_tokens=1, sampler=Judge(), replies=True),
)
