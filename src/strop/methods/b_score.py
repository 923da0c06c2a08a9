"""B-score (arXiv:2505.18545): no training on answers that a policy gives up once it sees that it gave them before.

    B(a) = P_single(a) - P_multi(a)

how often an answer is given in contexts of its own, less how often it is given where the question is asked again and again in one
conversation. Near 0 it is known or meant; far above 0 it was a habit of first answers. The paper measures B and trains nothing: what one
would train on its strength is GRPO in which an answer with B above a threshold counts in its group's statistics and gets no gradient.

P_single are the answers of the rollout's group, all in one order of the options; P_multi those of conversations that the grader holds with
the weights as they stand, in an order of their own each turn. The paper chooses its threshold on the questions that it reports; the
constant here is a fifth, between what it finds for easy questions (0.06) and random ones (0.41).
"""

from __future__ import annotations

import asyncio

from strop.methods.grpo import GRPO
from strop.records import Group, Incident, Scores
from strop.seams.again import Answered, AskAgain, options_of, read
from strop.seams.context import Ctx
from strop.seams.gate import AtMost
from strop.seams.part import part
from strop.seams.sampler import grown
from strop.seams.source import answer_of


@part(gives="b")
async def repeated(
    groups: list[Group],
    ctx: Ctx,
    *,
    turns: int = 10,
    talks: int = 2,
    history: str = "kept",
    max_tokens: int = 32,
    deadline: float = 300.0,
) -> Scores:
    """`b` of a rollout: how often its group gives its answer, less how often that is given in conversations of so many turns.

    0 for a reply without a valid answer, and where a conversation has none; how many repeated answers are invalid is said as the reason.
    """
    how = AskAgain(turns=turns, n=talks, history=history, max_tokens=max_tokens)
    asked = await asyncio.gather(*(grown(how, group.task, None, ctx.at(f"{group.id}/again")) for group in groups))
    values, reasons, incidents = dict[str, dict[str, float | None]](), dict[str, str](), list[Incident]()
    for group, (talk,) in zip(groups, asked, strict=True):
        whole = [rollout for rollout in group.rollouts if rollout.stop != "error"]
        said = [answer_of(ctx.source, rollout.text) for rollout in whole]
        found = Answered(group.task.id, options_of(group.task), tuple(said), read(talk, lambda text: answer_of(ctx.source, text)).talks)
        b, (invalid, every) = found.b or {}, found.of_talks.invalid
        for rollout, answer in zip(whole, said, strict=True):
            values[rollout.id] = {"b": b.get(answer or "", 0.0)}
            if invalid:
                reasons[rollout.id] = f"{invalid} of {every} repeated answers are invalid"
        incidents += [Incident(r.id, "b", "the rollout was broken off") for r in group.rollouts if r.stop == "error"]
    return Scores(values, reasons, tuple(incidents))


B_SCORE = GRPO.but(
    "b-score",
    paper="2505.18545",
    idea=("graders", "gate"),
    graders=(repeated(turns=10, talks=2),),
    gate=(AtMost("b", most=0.2),),
)
SHUFFLED = B_SCORE.but("b-score-shuffled", idea=("graders",), graders=(repeated(turns=10, talks=2, history="shuffled"),))
"""As the released code asks with its flag `--shuffle_options`: earlier turns in another order each time. The paper does not mention it."""
