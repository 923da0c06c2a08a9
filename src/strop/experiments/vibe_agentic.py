"""Vibe and agentic coding (arXiv:2505.19443): how it could be wrong."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.record import shipped
from strop.claims.trace import Curve, Trace, held_out
from strop.methods.vibe_agentic import IMITATED, SHORT
from strop.recipe import Recipe
from strop.seams.part import part

SUITED = {"hidden": ("ask", "run"), "bugs": ("run", "ask")}
"""Of each kind of tasks the contract that is said to suit it, and the other one."""


def repaired(trace: Trace, contract: str, kind: str) -> float:
    """The share of the held-out tasks of a kind that were mended under a contract, in the end."""
    return float(trace.held_out[-1]["means"][f"{contract}_{kind}"])


@part(gives="curve")
def where_closer(trace: Trace, *, suited: bool = True) -> Curve:
    """The share that is mended under the contract that suits, or under the other one, on that kind of tasks on which the two are closer."""

    def gap(kind: str) -> float:
        one, other = SUITED[kind]
        return repaired(trace, one, kind) - repaired(trace, other, kind)

    kind = min(SUITED, key=gap)
    return [(float(trace.held_out[-1]["spent"]), repaired(trace, SUITED[kind][not suited], kind))]


@part(gives="curve")
def of_both_kinds(trace: Trace, *, contracts: tuple[str, ...] = ("both",)) -> Curve:
    """The share that is mended of both kinds together, under that one of some contracts under which it is largest."""
    best = max(fmean(repaired(trace, contract, kind) for kind in SUITED) for contract in contracts)
    return [(float(trace.held_out[-1]["spent"]), best)]


@part(gives="curve")
def where_suited(trace: Trace) -> Curve:
    """The share that is mended of both kinds together, each under the contract that suits it."""
    return [(float(trace.held_out[-1]["spent"]), fmean(repaired(trace, contract, kind) for kind, (contract, _) in SUITED.items()))]


@part(gives="number")
def mended(trace: Trace, *, contract: str, kind: str) -> float:
    """A share of repairs."""
    return repaired(trace, contract, kind)


@part(gives="number")
def not_mended(trace: Trace, *, contract: str, kind: str) -> float:
    """What is left of one to 1."""
    return 1 - repaired(trace, contract, kind)


@part(gives="number")
def used(trace: Trace, *, where: str, call: str) -> float:
    """The share of the repairs of a kind under a contract in which a tool was called."""
    return fmean(f">{call}" in text for one in trace.replies[-1] if one["needs"]["where"] == where for text in one["texts"])


CONTRACTS = Claim(
    "vibe-agentic-contracts",
    mechanism="Giving a task the contract that suits it, a user to ask where a demand is hidden and tests to run where bugs are many,",
    consequence="raises the share of repairs by 0.05 or more over the other contract, on both kinds of tasks",
    regime="on programs of a stack language, by one policy a seed that imitated experts of all contracts, at equal turns and tokens",
    method="vibe-agentic",
    recipe=Recipe(task="repair:contract=all,cells=1", steps=10_000, tasks=8, lr=2e-3, checkpoint_every=10_000),
    arms=(
        Arm("suited", IMITATED, reads=where_closer(suited=True)),
        Arm("other", IMITATED, control="the same policy under the other contract, on the same tasks", reads=where_closer(suited=False)),
        Arm("elsewhere", IMITATED, control="a user who answers about another task", reads=held_out(name="other_hidden")),
    ),
    compare=("suited", "other"),
    measure=where_closer(),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05: on one of the two kinds the contract that suits is no better",
    profiles={
        "quick": Profile((0,), "300000 trained", 2),
        "full": Profile((0, 1, 2, 3), "450000 trained", 8),
    },
    checks=(
        Check("it repairs where a demand is hidden and may be asked for", mended(contract="ask", kind="hidden"), "suited", least=0.3),
        Check("it repairs where bugs are many and tests are run", mended(contract="run", kind="bugs"), "suited", least=0.3),
        Check("it asks where a demand is hidden: share of the programs", used(where="ask_hidden", call="ask"), "suited", least=0.8),
        Check("it runs tests where bugs are many: share of the programs", used(where="run_bugs", call="run"), "suited", least=0.8),
        Check("answers about another task are no help: not repaired", not_mended(contract="other", kind="hidden"), "suited", least=0.8),
    ),
    pilot=(0.82, 0.9, 0.86),
    held_out=HeldOut(tasks=700, samples=1, at=(1.0,), max_tokens=SHORT.max_tokens, temperature=0.0, replies=True),
    pitfalls="On the hidden demand it is near to arithmetic: who cannot ask guesses one of nine operations. On many bugs it says that this "
    "policy does not compare a program with its text: it asks about three cases of five and mends one program in ten, as chance would. One "
    "that compares would tie there. The paper has no numbers, so the threshold is ours.",
)

BOTH = replace(
    CONTRACTS,
    name="vibe-agentic-both",
    mechanism="Giving every task both, tests to run and two questions to ask,",
    consequence="raises the share of repairs by 0.05 or more over whichever single contract is better",
    regime="on as many programs with a hidden demand as with many bugs, by one policy a seed that imitated experts of all contracts",
    arms=(
        Arm("suited", IMITATED, control="somebody knows the kind of each task and gives it the contract that suits", reads=where_suited()),
        Arm("both", IMITATED, reads=of_both_kinds(contracts=("both",))),
        Arm("one", IMITATED, control="the better one of asking and running", reads=of_both_kinds(contracts=("ask", "run"))),
    ),
    compare=("both", "one"),
    measure=of_both_kinds(),
    refuted_if="the interval of the paired difference lies below 0.05",
    pilot=(0.41, 0.45, 0.435),
    checks=tuple(replace(check, arm="both") for check in CONTRACTS.checks),
    pitfalls="The mix decides: of one kind alone the contract that suits is as good. What it says is that one policy finds out which "
    "kind it has before it.",
)


def contracts() -> str:
    """What the claims' policies mended under each contract, seed by seed, as the record of the second one has it."""
    ends = shipped()[BOTH.name]["evaluations"]["both"]
    lines = ["| contract | a demand is hidden | many bugs |", "|---|---|---|"]
    for says, contract in (
        ("ask", "ask"),
        ("run", "run"),
        ("both, two questions", "both"),
        ("ask, answers about another task", "other"),
    ):
        found = [[ends[seed][-1]["means"].get(f"{contract}_{kind}") for seed in sorted(ends, key=int)] for kind in SUITED]
        lines.append(f"| {says} | " + " | ".join(", ".join(f"{x:.2f}" for x in row if x is not None) for row in found) + " |")
    return "\n".join(lines)
