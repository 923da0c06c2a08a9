"""WebWeaver (arXiv:2509.13312): a report that is written section by section, each from the evidence that its outline names alone.

    plan      an outline ties each section to ids of a bank of evidence
    write     a section: fetch what its ids say, state it with its sources, and leave the evidence out of sight
    learn     cross-entropy on what a teacher called and wrote; what the bank says is context

The paper imitates 6,400 trajectories of a strong teacher and rewards nothing. Here citations are checked by program, so `WEBWEAVER_GRPO` is
paid for them: precision times coverage, of which neither rises by citing everything or nothing. `RELEASED` hands in what the paper's code
does where the context overflows: an empty report. Left out: the planner's searching and revising, and whatever asks a judge.
"""

from __future__ import annotations

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Group, Incident, Scores
from strop.seams.context import Ctx
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.window import Spent
from strop.worlds.calls import Hermes, Line
from strop.worlds.dossier import Dossier


def _share(groups: list[Group], channel: str, over: tuple[str, str]) -> Scores:
    """Of what a world noted last: one count over another; nothing of nothing is 0, and so is a reply that no world heard."""
    values, incidents = dict[str, dict[str, float | None]](), list[Incident]()
    for rollout in (r for g in groups for r in g.rollouts):
        noted = (rollout.keys.get("facts") or [dict.fromkeys(over, 0)])[-1]
        one, all_ = (noted.get(name) for name in over)
        values[rollout.id] = {channel: None if one is None or all_ is None else one / all_ if all_ else 0.0}
        if values[rollout.id][channel] is None:
            incidents.append(Incident(rollout.id, channel, f"its world notes no {over[0]!r} and {over[1]!r}: a world of citations does"))
    return Scores(values, incidents=tuple(incidents))


@part(gives="precision")
async def citations_right(groups: list[Group], ctx: Ctx) -> Scores:
    """`precision` is the share of a report's citations that are right, as its world counts them; 0 where nothing is cited."""
    return _share(groups, "precision", ("right", "cited"))


@part(gives="coverage")
async def asked_cited(groups: list[Group], ctx: Ctx) -> Scores:
    """`coverage` is the share of what a report was asked for that it states with a right citation."""
    return _share(groups, "coverage", ("covered", "asked"))


@part(gives="reward_R", formula="reward_R = precision_R * coverage_R")
def cited_well(precision_R: Tensor, coverage_R: Tensor) -> Tensor:
    """Precision times coverage: one citation that is right, or every line of a bank, earns next to nothing."""
    return precision_R * coverage_R


WEBWEAVER_GRPO = GRPO.but(
    "webweaver-grpo",
    paper="2509.13312",
    idea=("sampler", "graders", "reward"),
    sampler=Episodes(n=8, turns=16, max_tokens=256, observation=256, window=Spent(), calls=Hermes()),
    graders=(citations_right(), asked_cited()),
    reward=cited_well(),
)

SECTIONS = Episodes(n=8, turns=12, max_tokens=28, observation=32, calls=Line(), window=Spent(mark="."))
"""Of `dossier`: four sections, each fetched and written, and room for some errors."""

IMITATED = SFT.but("sft-dossier", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SECTIONS, tasks=1)
ON_DOSSIERS = WEBWEAVER_GRPO.but("webweaver-dossier", idea=("sampler",), sampler=SECTIONS, tasks=4)
RELEASED = ON_DOSSIERS.but("webweaver-released", idea=("environment",), environment=Dossier(whole=True))


def written(name: str, released: bool = False) -> Program:
    """Imitates an expert's reports, and goes on alone, paid for citations."""
    return Program(
        name,
        (
            Stage("imitate", IMITATED, steps(1500), task="dossier", pace=3.0),
            Stage("rewarded", RELEASED if released else ON_DOSSIERS, rest(), task="dossier"),
        ),
        paper="2509.13312",
    )


WEBWEAVER = written("webweaver")
WEBWEAVER_RELEASED = written("webweaver-released", released=True)
