"""Survey: what the checklists of two surveys ask for, and what strop has of it (`strop methods --survey`, docs/survey.md).

A cell names what fills it, each by its kind: `part`, `method`, `claim`, `command`, `task`, `world`. A test holds every name to the code. A
cell without any is empty, and its note says why.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import strop.worlds

KINDS = ("part", "method", "claim", "command", "task", "world")


@dataclass(frozen=True)
class Cell:
    name: str
    """As the survey says it."""
    fills: tuple[str, ...] = ()
    """`part group_normalized`, `claim cdas-spread`, `command strop eval`."""
    note: str = ""


@dataclass(frozen=True)
class Section:
    name: str
    cells: tuple[Cell, ...]


RL = (
    Section(
        "3.1 Rewards",
        (
            Cell("verifiable", ("part outcome", "part outcome_and_format", "command strop tasks", "claim abstain-score")),
            Cell("generative: a judge", ("part judged", "part preferred", "part Form", "command strop judge")),
            Cell("dense: steps and turns", ("part StepSearch", "part step_returns", "part steps_standardized", "claim pathfinder-types")),
            Cell("dense: implicit process rewards", (), "needs a second model trained on outcomes, whose log-ratios are rewards"),
            Cell("unsupervised: votes", ("part agreed",)),
            Cell("unsupervised: certainty", ("part self_certainty", "claim intuitor-premise", "claim intuitor-inverted")),
            Cell("shaping: formats and lengths", ("part rare_formats", "part soft_overlong", "part priced", "claim arm-tokens")),
            Cell("shaping: confidence", ("part confidence_target", "claim abstain-coverage")),
        ),
    ),
    Section(
        "3.2 Policy optimisation",
        (
            Cell("policy gradient: REINFORCE", ("part policy_gradient", "method reinforce++")),
            Cell("clipped surrogate: PPO", ("part clipped_surrogate", "method ppo")),
            Cell("critic-based: GAE, a value head", ("part gae", "part gae_by_length", "part clipped_value")),
            Cell("critic-based: value rollouts from middle states (VinePPO)", (), "rollouts from every state of a rollout, as a critic"),
            Cell("critic-free: group baselines", ("method grpo@strop-1", "method rloo", "method dr-grpo", "part over_greedy")),
            Cell("critic-free: sequence ratios", ("method gspo", "part row_ratio")),
            Cell("critic-free: clipped weights", ("method cispo", "part probability_bound")),
            Cell("critic-free: clip higher, drop flat groups", ("method dapo", "part DropFlat")),
            Cell("critic-free: outliers", ("method stable-reinforce", "claim stable-reinforce-window")),
            Cell("critic-free: covariance of credit and likelihood", ("part without_covariant",)),
            Cell("critic-free: negative-aware fine-tuning (NFT)", (), "an implicit policy of wrong replies, trained by maximum likelihood"),
            Cell("flow and diversity", ("method flowrl", "claim flowrl-tie", "claim flowrl-diversity")),
            Cell("off-policy: demonstrations in the group", ("part WithGold", "part shaped")),
            Cell("off-policy: demonstrations beside the group", ("part WithDemos",)),
            Cell("off-policy: preferences", ("method dpo", "method mpo", "claim cascade-accuracy")),
            Cell("off-policy: late weights and other engines", ("part truncated", "part masked", "command strop lab")),
            Cell("replay", ("part Rehearsed", "part Earlier")),
            Cell("which of a group is trained", ("method raml", "claim raml-support", "part ResampleOnCorrect")),
            Cell(
                "regularisation: KL, entropy, drift", ("part kl_to", "part kl_in_reward", "part entropy_bonus", "part drift_from_sampler")
            ),
        ),
    ),
    Section(
        "3.3 Sampling",
        (
            Cell("filters by pass rate", ("part Band", "part DropFlat")),
            Cell("curricula", ("method cdas", "claim cdas-spread", "claim cdas-accuracy")),
            Cell("trees and shared beginnings", ("method treepo", "claim treepo-saving", "claim treepo-coverage")),
            Cell("branches that meet again", ("method parallel-r1", "claim parallel-r1-share")),
            Cell("problems that the policy writes", ("method svs", "claim svs-coverage")),
            Cell("copies in place of dropped groups", ("method dupo", "claim dupo-tie")),
            Cell("temperature, length, budget", ("part Cooled", "part MaskOverlong", "command strop train")),
        ),
    ),
    Section(
        "4 Open questions",
        (
            Cell("sharpening or discovery", ("command strop eval", "claim treepo-coverage"), "pass@k before and after, same samples"),
            Cell("generalisation or memory", ("claim agentscaler-domains", "part Demos")),
            Cell("weak or strong prior", ("command strop doctor",), "the base at its best temperature stands beside every result"),
            Cell("tricks or traps", ("command strop lab", "command strop microscope")),
            Cell("process or outcome", ("method pathfinder", "claim pathfinder-types")),
        ),
    ),
    Section(
        "5 Resources",
        (
            Cell("static data", ("command strop tasks", "command strop export-data")),
            Cell("environments: rules", ("task chain", "task countdown", "world wiki")),
            Cell("environments: code", ("world python", "world repair", "method rstar2")),
            Cell("environments: games", ("task path", "command strop world")),
            Cell("environments: a model answers", ("part Asked", "method agentscaler")),
            Cell("environments: model-based, learned", (), "a world that is itself trained to predict"),
            Cell("infrastructure: one process, Ray, vLLM, FSDP, a swarm", ("command strop plan", "method swarm")),
        ),
    ),
    Section(
        "6 and 7 Applications and what is next",
        (
            Cell(
                "search and browsing",
                ("method resum", "method webresearcher", "method webexplorer", "method websailor", "claim resum-untrained"),
            ),
            Cell("tools", ("method grpo-roc", "claim grpo-roc-clean", "claim rstar2-faults")),
            Cell("several agents", ("method swarm", "part Trained", "method lifelong")),
            Cell(
                "memory that is rewritten",
                ("part Summarised", "part Report", "part Spent", "method webweaver", "claim webresearcher-rounds"),
            ),
            Cell("pictures, sound, video", (), "policies whose decisions or prompts are no tokens"),
            Cell("latent reasoning", (), "decisions without tokens"),
            Cell("diffusion language models", (), "decisions that are blocks, drawn in no order"),
        ),
    ),
)

MULTIMODAL = (
    Section(
        "Successes",
        (
            Cell("modalities: vision, audio, GUI, 3-D", (), "policies that read or write what is no text"),
            Cell("curriculum with difficulty", ("method cdas", "part Band")),
            Cell("filters of trivial items", ("part DropFlat", "method dapo")),
            Cell("data that the policy makes, again and again", ("method rft", "part Earlier", "method svs")),
            Cell("step-wise rewards", ("part step_returns", "method pathfinder")),
            Cell("data chosen by search", ("part Refined", "claim reer-search", "part Climbed", "claim moose-chem2-levels")),
            Cell("mixed preferences, then reinforcement", ("method cascade", "claim cascade-accuracy")),
        ),
    ),
    Section(
        "To do",
        (
            Cell("generalisation across tasks and domains", ("claim agentscaler-domains",)),
            Cell("outcome and process rewards together", ("part tiered", "method pathfinder-rl")),
            Cell("safety: hacking, overthinking", ("command strop tripwires", "claim arm-tokens", "claim lifelong-held-out")),
            Cell("noise on inputs in a group", (), "needs pictures or sound to put noise on"),
            Cell("cheaper training", ("claim treepo-saving", "part Quantized")),
            Cell("rewards that are designed by a machine", (), "a search over reward functions"),
        ),
    ),
)

SURVEYS = {"2509.08827": RL, "2505.18536": MULTIMODAL}


def cells(paper: str) -> Iterator[tuple[Section, Cell]]:
    for section in SURVEYS[paper]:
        yield from ((section, cell) for cell in section.cells)


def missing() -> list[str]:
    """Names that cells give and the code does not have."""
    from strop.catalogue import own
    from strop.claims import OWN
    from strop.cli import COMMANDS
    from strop.methods import ALIASES, METHODS, PROGRAMS
    from strop.tasks import SOURCES

    worlds = {module.name for module in pkgutil.iter_modules(strop.worlds.__path__)}
    known = {"part": own(), "method": {**METHODS, **PROGRAMS, **ALIASES}, "claim": OWN, "task": SOURCES, "world": worlds}
    found: list[str] = []
    for paper in SURVEYS:
        for _, cell in cells(paper):
            for fill in cell.fills:
                kind, _, name = fill.partition(" ")
                there = name.split()[1] in COMMANDS if kind == "command" else name in known.get(kind, ())
                found += [] if there else [f"{paper}, {cell.name}: {fill}"]
    return found


def page() -> str:
    """All of it as Markdown, with the verdicts that the records hold."""
    from strop.claims.record import verdict_of
    from strop.papers import catalogue

    lines = ["# What the surveys ask for", ""]
    lines += [
        "Written by `strop methods --survey` from `src/strop/survey.py`: each cell of two surveys' checklists, and the parts, methods,"
    ]
    lines += ["claims, tasks and commands that fill it. What nothing fills is said to be **empty**, with what it would take.", ""]
    for paper in SURVEYS:
        every = [cell for _, cell in cells(paper)]
        empty = [cell for cell in every if not cell.fills]
        lines += [f"## {catalogue().papers[paper].title} ([arXiv:{paper}](https://arxiv.org/abs/{paper}))", ""]
        lines += [f"{len(every)} cells, {len(empty)} of them empty.", ""]
        for section in SURVEYS[paper]:
            lines += [f"### {section.name}", "", "| cell | strop |", "|---|---|"]
            for cell in section.cells:
                said = [
                    f"claim `{fill[6:]}` ({verdict_of(fill[6:])})" if fill.startswith("claim ") else f"`{fill.partition(' ')[2]}`"
                    for fill in cell.fills
                ]
                filled = ", ".join(said) if said else "**empty**"
                lines.append(f"| {cell.name} | {filled}{'; ' + cell.note if cell.note else ''} |")
            lines.append("")
    return "\n".join(lines)
