"""DoctorAgent-RL (arXiv:2505.19630): a doctor asks a patient turn by turn, and diagnoses within turns that are told and change.

    imitate     dialogues of doctors who know the file
    reinforce   GRPO on whole dialogues; R is the sum over turns: +1 where the patient tells something, -1 or -2 where not, 5 F1 at the end

The number of turns is one of 2 to 10, and every message says `turn/number`. Here a group has one number: the released code draws one for
each rollout (`RELEASED`), so a baseline mixes long dialogues with short ones, and most of what it explains is their length. The patient is
whoever the task brings, or a policy: `--policy patient=MODEL_OR_RUN`. What it says is an observation.

The released script turns its KL term off, and whitens twice, which changes nothing. Left out: its entropy bonus of 0.001, the thoughts
that another model wrote for the dialogues, LoRA.
"""

from __future__ import annotations

from strop.method import Method
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Group, Incident, Sampling, Scores
from strop.seams.context import Ctx
from strop.seams.credit import group_normalized
from strop.seams.episode import Between, Episodes
from strop.seams.feed import Demos
from strop.seams.objective import clipped_surrogate
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.reward import outcome
from strop.seams.signal import Signal
from strop.seams.update import AdamW
from strop.worlds.clinic import Clinic


@part(gives="earned", version=2)
async def by_turns(groups: list[Group], ctx: Ctx) -> Scores:
    """`earned` is the sum of what each turn of a dialogue earned, as its world notes it; 0 where no world heard it, and nothing is known of
    one that was broken off."""
    values, incidents = dict[str, dict[str, float | None]](), list[Incident]()
    for rollout in (r for g in groups for r in g.rollouts):
        turns = [noted.get("earned") for noted in rollout.keys.get("facts", ())]
        known = [float(one) for one in turns if isinstance(one, int | float)]
        whole = rollout.stop != "error" and len(known) == len(turns)
        values[rollout.id] = {"earned": sum(known) if whole else None}
        if not whole and rollout.stop != "error":  # of a broken one its outcome says why
            incidents.append(Incident(rollout.id, "earned", "its world notes of some turn nothing that it `earned`: one of dialogues does"))
    return Scores(values, incidents=tuple(incidents))


def budget(low: int, high: int, per: str = "group", *, says: str = "Turn 1/{}", each: str = "Turn {}/{}:") -> Between:
    """So many turns, which every message tells; who goes on behind the last one is ended by the world."""
    return Between(low, high, per, says, each, ends=False)


DOCTORAGENT_GRPO = GRPO.but(
    "doctoragent-rl-grpo",
    paper="2505.19630",
    idea=("sampler", "graders", "reward", "credit", "signals.policy"),
    sampler=Episodes(n=8, turns=budget(2, 10), max_tokens=256, observation=288, sampling=Sampling(temperature=0.7)),
    graders=(by_turns(),),
    reward=outcome.reading(outcome_R="earned_R"),
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=means("token"))},
    update=AdamW(lr=1e-6, betas=(0.9, 0.95), minibatch=128),
    tasks=128,
)

SAYS = {"says": "1/{}", "each": "{}/{}"}
"""For policies whose tokens are letters."""


def dialogues(turns: Between) -> Episodes:
    """Of `clinic`: an action is a question of three letters, or a diagnosis of five."""
    return Episodes(n=8, turns=turns, max_tokens=8, observation=16)


IMITATED = SFT.but(
    "sft-clinic",
    idea=("feed", "sampler", "environment"),
    feed=Demos(text="episode"),
    sampler=dialogues(budget(2, 10, **SAYS)),
    environment=Clinic(held=False),
    tasks=32,
)
"""A number is told and has nothing to do with how long a dialogue is: what it is for is left to learn."""


def reinforced(name: str, turns: Between) -> Method:
    """On dialogues of letters, with turns told so."""
    small = AdamW(lr=1e-6, betas=(0.9, 0.95), minibatch=4)
    return DOCTORAGENT_GRPO.but(name, idea=("sampler", "update"), sampler=dialogues(turns), update=small, tasks=8)


SMALL = reinforced("doctoragent-rl-small", budget(2, 10, **SAYS))
RELEASED = reinforced("doctoragent-rl-released", budget(2, 10, "rollout", **SAYS))


def doctor(name: str, method: Method) -> Program:
    """Imitates, and goes on alone."""
    stages = (Stage("imitate", IMITATED, steps(300), task="clinic", pace=10.0), Stage("reinforce", method, rest(), task="clinic"))
    return Program(name, stages, paper="2505.19630")


DOCTORAGENT = doctor("doctoragent-rl", SMALL)
DOCTORAGENT_RELEASED = doctor("doctoragent-rl-released", RELEASED)
