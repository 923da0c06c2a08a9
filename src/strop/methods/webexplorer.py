"""WebExplorer (arXiv:2509.06501): an agent that learns on questions made hard by what they no longer tell, under limits that grow.

    questions   a question about an entity is edited five times, its answer fixed: clues left out, blurred, described (`tasks/clues.py`)
    imitate     right episodes of a teacher
    reinforce   GRPO with R = 0.2 * format + outcome, in turns and tokens that grow when many episodes are cut

The reward's format is 1 where the whole episode keeps it. It pays a wrong answer too, which is felt only in groups that are not all of
one form. The paper's limits are 50 turns in 64K tokens, then 75 in 96K and 100 in 128K; when they grow is not printed ("gradually"). Here
a stage ends when more than a fifth of its last three steps' episodes were cut: the next one has more room and keeps the optimiser.

The paper asks its model that an answer stay the only one; here a checker proves it, and `clues:checked=0` is the paper's form.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps, when
from strop.records import Group, Rollout, Scores
from strop.seams.context import Ctx
from strop.seams.episode import Calls, Episodes
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.window import Append
from strop.seams.world import calls
from strop.tasks.procedural import strict_answer
from strop.worlds.calls import Hermes, Line


@part(gives="format")
async def in_form(groups: list[Group], ctx: Ctx) -> Scores:
    """`format` is 1 where every turn before the last one calls, no call is broken, and the last one is an answer."""
    return Scores({r.id: {"format": float(_in_form(r))} for g in groups for r in g.rollouts})


def _in_form(rollout: Rollout) -> bool:
    turns = rollout.keys.get("calls", [[]] * len(rollout.keys.get("facts", ())))
    called = all(turns[:-1]) and all(tool for tool, _, _ in calls(rollout))
    return called and rollout.stop == "finished" and strict_answer(rollout.text)[0] is not None


@part(gives="limited")
async def limited(groups: list[Group], ctx: Ctx) -> Scores:
    """`limited` is 1 where an episode was cut: no turn was left, or no room. It stands on the metrics line and pays nothing."""
    return Scores({r.id: {"limited": float(r.stop in ("turns", "length"))} for g in groups for r in g.rollouts})


@part(gives="reward_R", formula="reward_R = outcome_R + {format_share} * format_R")
def outcome_beside_format(outcome_R: Tensor, format_R: Tensor, *, format_share: float = 0.2) -> Tensor:
    """The verdict, and a little for the form, whatever the verdict."""
    return outcome_R + format_share * format_R


@part(gives="done")
def crowded(limited: Sequence[float | None], *, above: float = 0.2, last: int = 3) -> bool:
    """More than this share of the episodes of the last steps was cut.

    >>> crowded([0.0, 0.1, 0.2, 0.4]), crowded([0.9, 0.9]), crowded([0.9, 0.1, 0.2, 0.1])
    (True, False, False)
    """
    return len(limited) >= last and fmean(share or 0.0 for share in limited[-last:]) > above


def within(turns: int, tokens: int, form: Calls | None = None, max_tokens: int = 64, observation: int = 128) -> Episodes:
    """Episodes of so many turns, whose row holds so many tokens."""
    return Episodes(n=8, turns=turns, max_tokens=max_tokens, observation=observation, window=Append(tokens), calls=form or Hermes())


WEBEXPLORER = GRPO.but(
    "webexplorer-grpo",
    paper="2509.06501",
    idea=("sampler", "graders", "reward"),
    sampler=within(8, 1536),
    graders=(in_form(), limited()),
    reward=outcome_beside_format(),
)

SMALL = {"form": Line(), "max_tokens": 14, "observation": 44}
"""A call or an answer of the bundled model's, and the page of an entity of which everything is asked."""
TAUGHT = SFT.but("sft-clues", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=within(32, 2048, **SMALL))
"""Room for whatever its teacher visits, who is always right."""
LIMITS = ((4, 256), (6, 384), (8, 512))


def grown(turns: int, tokens: int) -> Stage:
    """A stage under these limits, until they are too narrow; under the last ones, to the end."""
    last = (turns, tokens) == LIMITS[-1]
    method = WEBEXPLORER.but(f"webexplorer-{turns}", idea=("sampler",), sampler=within(turns, tokens, **SMALL), tasks=8)
    kept = () if (turns, tokens) == LIMITS[0] else ("optimiser", "curriculum")
    return Stage(f"turns-{turns}", method, rest() if last else when(crowded(), at_most=100), task="clues:evolved=5", keeps=kept)


WEBEXPLORER_PROGRAM = Program(
    "webexplorer",
    (Stage("imitate", TAUGHT, steps(200), task="clues", pace=10.0), *(grown(*pair) for pair in LIMITS)),
    paper="2509.06501",
)
