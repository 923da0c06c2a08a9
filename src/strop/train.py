"""One training step, top to bottom. It names no method and is the same whatever feeds it.

take -> mark -> grade -> observe -> gate -> commit -> pack -> measure -> correct -> credit -> update -> deliver
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from strop.batch import pack
from strop.learning import reward_of, settle
from strop.records import Scores
from strop.seams.context import keyed
from strop.seams.gate import decide, finish

if TYPE_CHECKING:
    from strop.batch import Batch
    from strop.loop import Run
    from strop.pupil import Pupil

    Lesson = tuple[Pupil, Batch, list[dict[str, float]]]
    """What a policy learned from in a step, and facts of each of its updates."""


async def step(run: Run) -> dict[str, Any]:
    method, ctx = run.method, run.context()
    groups, scores, fates, rewards = [], Scores(), {}, {}
    seen: Counter[str] = Counter()
    key = (run.recipe.seed, run.number)
    for policy in ctx.policies.values():
        policy.engine.begin(run.number)
    for one in run.pupils.values():
        await one.watch.begin()
    for _ in range(1 + method.refills):
        want = method.tasks - sum(g.role == "solve" and any(fates[r.id].kind == "keep" for r in g.rollouts) for g in groups)
        if want <= 0:
            break
        fresh = run.mark(await run.feed.take(run.pick, want, method.sampler, run.world, ctx, seen))
        graded = await run.grade(fresh)
        run.observe(fresh, graded)
        rewards |= reward_of(method, fresh, graded, ctx.progress)
        for group in fresh:
            fates |= decide(method.role(group.role).gate, group, rewards, graded, key)
        groups, scores = groups + fresh, scores | graded
    for role, members in method.by_role(groups):
        fates |= finish(role.gate, members, fates, rewards, scores, key)
    run.commit(groups, scores, fates, rewards)  # from here the update is a function of this record

    lessons: list[Lesson] = []
    for one in run.pupils.values():  # the actor, and whoever is trained beside it, each by the groups of its roles
        mine = one.taught(groups)
        batch = one.measure(pack(mine, fates, rewards, run.version, scores))
        batch = settle(method, batch, ctx.progress.fraction)
        one.watch.batch(mine, fates, batch, ctx.progress.fraction)
        facts: list[dict[str, float]] = []
        for epoch in range(one.update.epochs):
            order = list(range(batch.index.groups))
            if epoch:
                keyed(*key, "epoch", epoch).shuffle(order)
            for mini in batch.minibatches(one.update.cuts(len(order)), order):
                mini = one.follow(mini, (*key, len(facts)))
                look = one.watch.minibatch(mini, first=not facts)
                facts.append(one.learner.backward(mini, ctx.progress.fraction, (*key, len(facts)), look))
                facts[-1]["grad_norm"] = norm = one.learner.clip()
                one.watch.step_ready(look, facts[-1], norm)
                one.learner.apply(ctx.progress.fraction)
        lessons.append((one, batch, facts))
    run.deliver()
    return run.report(groups, scores, fates, rewards, lessons)
