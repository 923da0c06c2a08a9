"""What a model is like to train here: how its prompts are written, what ends a reply, what it needs, how fast it writes and learns.

Nothing is trained: a few rows are written, and one pass is differentiated and thrown away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from strop import engines
from strop.batch import pack
from strop.forecast import Lengths, forecast
from strop.policies import gguf
from strop.policies.causal import load, renderer
from strop.policies.chat import NoTemplate
from strop.policies.families import undeclared
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Sampling, Segment, Task
from strop.seams.context import Handle

QUESTION = "What is 17 + 25?"
ROWS, REPLY, TOKENS = 16, 32, 512
"""What is written, rows of so many tokens, and what is learned from, in one pass."""
PATIENCE = 30.0
"""Seconds after which no more of either is done."""
LEANER: tuple[dict[str, Any], ...] = (
    {},
    {"token_budget": 2048, "slots": 64},
    {"token_budget": 2048, "slots": 64, "checkpointing": True},
    {"token_budget": 2048, "slots": 64, "checkpointing": True, "lora": 16},
)
"""Ways to train, each in less memory than the one before."""


@dataclass(frozen=True)
class Finding:
    about: str
    says: str
    fine: bool = True
    flags: dict[str, Any] = field(default_factory=dict[str, Any])
    """What suits it, as a recipe names it."""


def findings(model: str, free: int | None, *, speed: bool = True) -> Iterator[Finding]:
    """One after another, up to one that something must be done about; the last is the line to try."""
    flags: dict[str, Any] = {"model": model}
    try:
        for finding in _findings(Recipe(model=model), free, speed):
            flags |= finding.flags
            yield finding
            if not finding.fine:
                return
    except ValueError as error:  # a model that cannot be used says why
        yield Finding("model", str(error), fine=False)
        return
    words = (f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in flags.items())
    yield Finding("to try", f"strop train {' '.join(words)}")


def _findings(recipe: Recipe, free: int | None, speed: bool) -> Iterator[Finding]:
    yield (prompts := _prompts(recipe))
    recipe = recipe.but(**prompts.flags)
    yield (memory := _memory(recipe, free))
    recipe = recipe.but(**memory.flags)
    policy = load(recipe.model, chat=recipe.prompts)
    config = policy.model.config.get_text_config()
    count = sum(parameter.numel() for parameter in policy.model.parameters())
    read = gguf.origin(recipe.model)
    source = f", read into float32 from {read['file']} ({read['quantisation']}, licence {read['licence']})" if read else ""
    yield Finding("model", f"{config.model_type}, {count:,} parameters, {config.vocab_size:,} ids{source}")
    ends = [f"{policy.tokenizer.decode([number])!r} ({number})" for number in policy.eos] + [f"{text!r}" for text in policy.renderer.stop]
    yield Finding("ends", f"a reply ends at {' or '.join(ends)}")
    yield Finding(
        "turns",
        f"{FORGETS[policy.renderer.forgets]}; tools are told by {'--calls native' if policy.renderer.tells_tools else '--calls hermes'}",
    )
    if speed:
        yield _writing(policy, recipe)
        yield _learning(policy)


FORGETS = {
    "": "a later turn leaves earlier ones as they are",
    "turns": "its chat template writes earlier turns anew, so in worlds a row begins again each turn: --window afresh, window=Afresh()",
    "thoughts": "its chat template leaves out the thoughts of earlier replies, which a row keeps; as it will be served: window=Afresh()",
}
"""What a template leaves out of earlier replies."""


def _prompts(recipe: Recipe) -> Finding:
    try:
        reads, flags, says = renderer(recipe), {}, "its own chat template writes"
    except NoTemplate:
        flags: dict[str, Any] = {"chat": "qa", "shots": 4}
        reads, says = renderer(recipe.but(**flags)), "it has no chat template, as base models have none; the format qa writes"
    return Finding("prompts", f"{says} {reads.tokenizer.decode(reads.prompt(QUESTION))!r}", flags=flags)


def _memory(recipe: Recipe, free: int | None) -> Finding:
    """The first way to train that fits, for prompts of 256 tokens and the method's replies."""
    sampler = recipe.resolved().sampler
    lengths, needs = Lengths(256, getattr(sampler, "max_tokens", 256)), 0
    room = "of what is free nothing is known" if free is None else f"{free / 2**30:.1f} are free"
    for flags in LEANER:
        needs = forecast(recipe.but(**flags), lengths).peak
        if free is None or needs <= free:
            return Finding("memory", f"a run needs {needs / 2**30:.1f} GiB; {room}", flags=flags)
    return Finding("memory", f"even adapters alone need {needs / 2**30:.1f} GiB; {room}. Choose a smaller model.", fine=False)


def _writing(policy: Any, recipe: Recipe) -> Finding:
    engine: Any = engines.build(policy, recipe)
    handle = Handle(engine, policy.renderer)

    async def write(name: str, rows: int, tokens: int) -> None:
        root = await handle.open(QUESTION, root=name)
        await asyncio.gather(*(engine.generate(root, max=tokens, sampling=Sampling()) for _ in range(rows)))

    took, wrote = 0.0, 0
    for name, rows, tokens in (("a", 2, 2), ("b", ROWS, 4), ("c", ROWS, REPLY)):
        if name == "c" and took * REPLY / 4 > PATIENCE:
            break
        before, started = engine.counters.decoded, time.perf_counter()
        asyncio.run(write(name, rows, tokens))
        took, wrote = time.perf_counter() - started, engine.counters.decoded - before
    why = "" if (reason := undeclared(policy.model)) is None else f", since {reason}"
    return Finding("writing", f"{wrote / took:.0f} tokens a second in {ROWS} rows ({engine.path} path{why}; {engine.grade})")


def _learning(policy: Any) -> Finding:
    took, tokens = 0.0, 0
    for length in (TOKENS // 32, TOKENS // 4):
        if took > PATIENCE / 4:
            break
        prompt, author = Segment("prompt", (1,) * (length // 2), "0"), Author("actor", 0, Sampling())
        action = Segment("action", (1,) * (length - length // 2), "0.0", author, (0.0,) * (length - length // 2))
        rollouts = tuple(Rollout((Row.of(prompt, action),), str(i)) for i in range(4))
        batch = pack([Group(Task("", {}, ""), rollouts)], {}, dict.fromkeys((r.id for r in rollouts), 0.0), 0)
        started = time.perf_counter()
        policy.evaluate(batch)["logp_T"].sum().backward()
        took, tokens = time.perf_counter() - started, 4 * length
    return Finding("learning", f"{tokens / took:.0f} tokens a second, forward and backward")
