"""Likelihood: how likely a policy finds texts that exist, each behind a context of its own.

    header = ctx.policies["actor"].renderer.plain("The answer is ")
    asked = [((*prompt, *chain[:i], *header), answer) for i in range(len(chain) + 1)]
    found = await likelihood(ctx, "actor", asked)          # log-probabilities of each answer's tokens

Contexts that begin alike are computed once where the engine can (the embedded one; vLLM's server does so by itself); the others score text
by text. What was computed is on the bill as `scored`, or `NAME/scored`. All numbers of one call come from one version of the weights.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from strop.seams.context import Ctx
from strop.seams.engine import Engine
from strop.seams.part import nearest

Tokens = Sequence[int]
TRIES = 3
"""Of one call, where weights are delivered while it lasts."""


@runtime_checkable
class Together(Protocol):
    """An engine that computes what texts have in common once."""

    async def given(self, texts: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple[float, ...]]:
        """Log-probability of each text's tokens from a place on, given all before them."""
        ...


async def likelihood(ctx: Ctx, policy: str, asked: Sequence[tuple[Tokens, Tokens]]) -> list[tuple[float, ...]]:
    """For each pair of a context and a target the log-probabilities of the target's tokens, by the policy's weights as they stand, at
    temperature 1 over all ids."""
    if policy not in ctx.policies:
        raise ValueError(f"likelihood asks the policy {policy!r}, and there is none. {nearest(policy, ctx.policies)}")
    return await likely(ctx.policies[policy].engine, asked)


async def likely(engine: Engine, asked: Sequence[tuple[Tokens, Tokens]]) -> list[tuple[float, ...]]:
    """The same of an engine, for what looks at a model outside of a run."""
    for number, (context, target) in enumerate(asked):
        if not context or not target:
            raise ValueError(f"likelihood: the {'context' if not context else 'target'} of pair {number} is empty")
        if len(context) + len(target) > engine.limit:
            raise ValueError(
                f"likelihood: pair {number} has {len(context)} + {len(target)} tokens, and {engine.name!r} has {engine.limit} positions"
            )
    texts = [((*context, *target), len(context)) for context, target in asked]
    for _ in range(TRIES):
        version = engine.version
        found = await (engine.given(texts) if isinstance(engine, Together) else one_by_one(engine, texts))
        if isinstance(engine, Together) or engine.version == version:
            return found
    raise ValueError(f"likelihood: new weights came to the policy {engine.name!r} {TRIES} times while it scored {len(asked)} texts")


async def one_by_one(engine: Engine, texts: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple[float, ...]]:
    """Each text as a row of its own."""

    async def one(text: tuple[int, ...], start: int) -> tuple[float, ...]:
        root = await engine.open(text[:start], root="likelihood")
        return await engine.score(await engine.extend(root, text[start:], kind="observation"))

    return list(await asyncio.gather(*(one(text, start) for text, start in texts)))


async def chances(ctx: Ctx, policy: str, context: Tokens, options: Sequence[Tokens]) -> list[float]:
    """How the policy divides its belief over a closed set of options behind one context: their likelihoods, made to sum to 1."""
    if len({tuple(option) for option in options}) < max(len(options), 2):
        raise ValueError(f"chances needs at least two options, each once; got {len(options)}")
    found = [math.fsum(logp) for logp in await likelihood(ctx, policy, [(context, option) for option in options])]
    most = max(found)
    weights = [math.exp(logp - most) for logp in found]
    return [weight / math.fsum(weights) for weight in weights]
