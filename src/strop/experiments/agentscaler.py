"""AgentScaler (arXiv:2509.13311): how it could be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.methods.agentscaler import SHORT, TAUGHT
from strop.program import Program, Stage, rest
from strop.recipe import Recipe
from strop.records import canonical
from strop.seams.part import part
from strop.tasks.database import Domains
from strop.worlds.database import Domain

DRAWS = Domains().draws
"""Sets of training domains: the seeds of a profile train on one each."""


@part(gives="number")
def own_success(trace: Trace) -> float:
    """Exact final state on new tasks of the domains that it was trained on."""
    return float(trace.held_out[-1]["means"][f"own_{trace.seed % DRAWS}"])


def names(needs: Mapping[str, Any]) -> Iterator[str]:
    """Of a task's domain all names of tables, columns and tools, and its template."""
    domain = Domain.of(needs["domain"])
    for table, columns in domain.tables:
        yield from (table, *(column for column, _ in columns))
    yield from (tool.name for tool in domain.operations)
    yield canonical(domain.template())


@part(gives="number")
def apart(trace: Trace) -> float:
    """Share of the unseen tasks of whose domain no name and no template stands in a training domain."""
    trained = {name for record in trace.records() for group in record["groups"] for name in names(group["task"]["needs"])}
    unseen = [told["needs"] for told in trace.replies[-1] if told["needs"]["where"] == "unseen"]
    return sum(trained.isdisjoint(names(needs)) for needs in unseen) / len(unseen)


def arm(name: str, task: str, control: str) -> Arm:
    made = Program(f"agentscaler-{name}", (Stage("general", TAUGHT, rest(), task=task),), paper="2509.13311")
    return Arm(name, made, control=control)


ARMS = {
    "64": ("database:domains=64", ""),
    "1": ("database:domains=1", "as many episodes of one domain"),
    "64-other": (
        "database:domains=64,others=1",
        "every training domain shows another one's documents: the same domains, and nothing to be read of them",
    ),
    "4": ("database:domains=4", "as many episodes of four domains"),
}

DOMAINS = Claim(
    "agentscaler-domains",
    mechanism="Learning to call tools in 64 domains instead of one",
    consequence="raises the exact final state in domains that nobody trained on by 0.15 or more",
    regime="on four tools of two tables that are read one at a time, with no name in common, at equal trajectories and positions",
    method="agentscaler",
    recipe=Recipe(task="database", steps=5000, tasks=16, lr=3e-3, checkpoint_every=5000),
    arms=tuple(arm(name, *said) for name, said in ARMS.items()),
    compare=("64", "1"),
    measure=held_out(name="unseen"),
    threshold=0.15,
    refuted_if="the interval of the paired difference lies below 0.15",
    profiles={
        "quick": Profile((0,), "450000 trained", 3, arms=("64", "1")),
        "full": Profile((0, 1, 2, 3), "640000 trained", 14, arms=("64", "1")),
        "extended": Profile((0, 1, 2, 3), "640000 trained", 28),
    },
    checks=(
        *(Check("it knows its own domains: exact final state on new tasks of theirs", own_success(), name, least=0.9) for name in ARMS),
        Check("unseen domains share no name and no template with those trained on", apart(), "64", least=1.0),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(1.0,), max_tokens=SHORT.max_tokens, temperature=0.0, replies=True),
)
