"""ScaleCUA (arXiv:2509.15221): how it could be wrong."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.methods.scalecua import SHORT, TAUGHT
from strop.program import Program, Stage, rest
from strop.recipe import Recipe
from strop.records import Task, canonical
from strop.seams.part import part
from strop.worlds.screens import App

GOALS, WALKS = 300, 16
BASE = Recipe(
    method=TAUGHT.but("sft-screens-base"),
    task="screens:apps=4096,mode=grounding",
    steps=8000,
    tasks=32,
    lr=1e-3,
    eval_tasks=0,
    checkpoint_every=8000,
)
"""It finds a name on a screen, and has done nothing there: small models take long to learn to read one."""


def arm(name: str, knobs: str, control: str = "") -> Arm:
    stage = Stage("imitate", TAUGHT, rest(), task=f"screens:goals={GOALS},mode=reasoned{knobs}")
    return Arm(name, Program(f"scalecua-{name}", (stage,), paper="2509.15221"), control=control)


def apps(trace: Trace) -> list[App]:
    """The app of everything that was trained on."""
    return [App.of(Task.from_json(group["task"]).needs["app"]) for record in trace.records() for group in record["groups"]]


@part(gives="number")
def new(trace: Trace) -> float:
    """Share of the held-out tasks of whose app neither a name nor the layout stands in a training app."""
    trained = {name for app in apps(trace) for name in (*app.names(), canonical(app.template()))}
    tested = [App.of(told["needs"]["app"]) for told in trace.replies[-1]]
    return fmean(trained.isdisjoint({*app.names(), canonical(app.template())}) for app in tested)


def walked(trace: Trace) -> list[dict[str, Any]]:
    """What the walks that were trained on hold, and how they were scored."""
    return [
        {"score": scores.get(r, "outcome"), "needs": g.task.needs}
        for groups, scores in trace.steps()
        for g in groups
        for r in g.rollouts
        if "walk" in g.task.needs
    ]


@part(gives="number")
def true(trace: Trace) -> float:
    """Share of the walks that end where their label says."""
    return fmean(float(one["score"] or 0) for one in walked(trace))


@part(gives="number")
def false(trace: Trace) -> float:
    """Share of the walks that end elsewhere."""
    return 1 - fmean(float(one["score"] or 0) for one in walked(trace))


@part(gives="number")
def acts(trace: Trace) -> float:
    """Success on held-out goals."""
    return float(trace.held_out[-1]["means"]["pass@1"])


@part(gives="number")
def open_to(trace: Trace) -> float:
    """What is left to be gained on held-out goals."""
    return 1 - float(trace.held_out[-1]["means"]["pass@1"])


LABELS = Claim(
    "scalecua-labels",
    mechanism="Labelling 16 walks a goal with what they happened to reach",
    consequence="raises success on apps that nobody trained on by 0.08 or more over the same walks with labels of others",
    regime="on screens of about 40 tokens in four skins and goals of 2 to 5 actions, each behind a thought, from one base that finds "
    "names on screens, at equal tokens",
    method="scalecua",
    recipe=Recipe(task="screens:mode=reasoned", steps=5000, tasks=4, lr=1e-3, checkpoint_every=5000),
    base=BASE,
    base_seeds="one",
    arms=(
        arm("reached", f",walks={WALKS}"),
        arm("shuffled", f",walks={WALKS},labels=shuffled", "the same walks, each said to be for what another one in its app reached"),
        arm("goals", "", "no walks: the goals that people set, repeated"),
    ),
    compare=("reached", "shuffled"),
    measure=held_out(name="pass@1"),
    threshold=0.08,
    refuted_if="the interval of the paired difference lies below 0.08",
    profiles={
        "quick": Profile((0,), "100000 trained", 10, arms=("reached", "shuffled")),
        "full": Profile((0, 1, 2, 3), "800000 trained", 28, arms=("reached", "shuffled")),
        "extended": Profile((0, 1, 2, 3, 4), "800000 trained", 36),
    },
    checks=(
        Check("walks end where their labels say: share", true(), "reached", least=1.0),
        Check("shuffled labels are others': share that ends elsewhere", false(), "shuffled", least=0.9),
        Check("held-out apps share no name and no layout with those trained on", new(), "reached", least=1.0),
        Check("it can act at all: success on held-out apps", acts(), "reached", least=0.1),
        Check("there is something left to gain without labels", open_to(), "shuffled", least=0.15),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(1.0,), max_tokens=SHORT.max_tokens, temperature=0.0, replies=True),
)
