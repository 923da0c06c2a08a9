"""Tripwires: what usually goes wrong silently, said aloud. Always on in training.

Measuring and judging are apart. `evidence` measures a few numbers in each step and puts them on its metrics line, under
`watch`; a tripwire is a pure function of those lines. So what it remembers is on disk: a run that is killed and resumed
fires as one that never stopped.

    stop    the run ends before the weights are touched, with exit code 2
    warn    said in the live table and kept on the line; said again only after it went away

A tripwire names what must hold for it to make sense (`needs`). Where that does not hold it is silent, which is printed
at the start and kept in recipe.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from strop.seams.part import nearest
from strop.tripwires import sees

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Tripwire:
    name: str
    level: Literal["stop", "warn"]
    when: Literal["begin", "sampled", "graded", "batch", "update", "step", "resume", "end"]
    """The moment of a step (or of a run) at which it is judged."""
    limit: float
    counts: str
    """What the limit is a limit of."""
    sees: Callable[[Sequence[Line], float], str | None]
    """What was seen, in words, on lines of which the last may be unfinished; None when all is well."""
    means: str
    do: str
    needs: tuple[str, ...] = ()
    """Preconditions, in the words of `strop.watch.watch.HOLDS`."""


SAMPLES = "the learner's engine samples the rollouts"
FRESH, OWN, ONE = "rollouts are fresh", "sampled_logp is in the row's own context", "one policy samples and learns"
TRAINED, RELATIVE, REWARD = "the actor is trained", "credit is group-relative", "credit reads the reward"
NOISE, LEDGER = "the engine can repeat its noise, by the learner's numbers", "the engine remembers what it wrote"
EXACT = "training computes in float32"
MODEL = "the policy is a language model"
MARKS = "the chat template has marks of its own"
VERDICT = "the reward reads the source's verdict"
UPDATES = "a step makes updates"
STEADY = "the curriculum looks at no score"

TRIPWIRES: tuple[Tripwire, ...] = (
    Tripwire(
        "undelivered-weights", "stop", "begin", 1e-4, "nats a token on fixed prompts", sees.undelivered,
        "the weights never reach the engine, so every step samples from the first policy",
        "look at the engine's deliver(): joined or copied weights must be rebuilt there",
        (SAMPLES, ONE, TRAINED, MODEL),
    ),
    Tripwire(
        "stale-weights", "stop", "begin", 1e-4, "nats a token on fixed prompts", sees.stale,
        "the engine samples with weights from before the last update, or with a copy that differs",
        "deliver the weights after the last optimiser step and before the first prompt, and wait until they have arrived",
        (SAMPLES, ONE, MODEL),
    ),
    Tripwire(
        "retokenised", "stop", "sampled", 0, "actions that the engine never wrote in this context", sees.retokenised,
        "a turn was decoded to text and encoded again (a chat template that strips or rewrites), so the tokens trained are not those drawn",
        "build rows from the engine's own tokens; let the renderer write only what is new",
        (FRESH, OWN, LEDGER),
    ),
    Tripwire(
        "grader", "stop", "graded", 0.1, "share of a step's rollouts without a score", sees.ungraded,
        "the grader hangs, dies or returns something that is no number; that is no fault of the policy",
        "fix the grader and go on",
    ),
    Tripwire(
        "constant-grader", "stop", "graded", 0, "scores that differ", sees.constant,
        "the grader does not read the answer: a wrong field, an exception turned into a score, a parser that never matches",
        "grade a right and a wrong text by hand: `strop tasks NAME` shows right ones with their scores",
        (REWARD, MODEL, VERDICT),
    ),
    Tripwire(
        "mask", "stop", "update", 0, "decisions trained that should not be, or the other way round", sees.misplaced,
        "the mask is inverted or shifted: a prompt is trained, or each token with its neighbour's credit",
        "compare the first batch as coloured tokens with what should be trained",
    ),
    Tripwire(
        "empty-mask", "stop", "batch", 0, "share of kept rollouts without a trained token", sees.empty,
        "rows name no segment to train, or a selection or correction leaves nothing: the step would be a no-op",
        "look at Row.trains and at the signals' `on`; `strop report` shows the first batch",
        (UPDATES,),
    ),
    Tripwire(
        "denominators", "stop", "batch", 1e-4, "relative change of the loss when four rows are cut into smaller passes", sees.cut,
        "something divides by the counts of one forward pass instead of the whole minibatch's, so the loss depends on token_budget",
        "take shares from the whole minibatch before the first pass, and sum",
        (EXACT,),
    ),
    Tripwire(
        "sampling", "stop", "update", 0, "tokens that the recorded sampling does not draw", sees.sampling,
        "temperature, top-p or top-k is applied on one side only: in drawing, or in the log-probability",
        "record it on the segment (Sampling) and apply it on both sides; train with top_p=1 and top_k=0",
        (FRESH, OWN, MODEL, EXACT),
    ),
    Tripwire(
        "mismatch-ratio", "stop", "update", 1.05, "largest probability ratio of learner and sampler, either way", sees.ratio,
        "the sampler is not the policy that learns: old weights, other numerics, another context, or tokens that were changed",
        "find which; raise the limit only for an engine with other numerics, and then use a correction",
        (FRESH, OWN, EXACT),
    ),
    Tripwire(
        "mismatch-kl", "stop", "update", 1e-3, "KL(sampler || learner), nats a token", sees.kl,
        "as mismatch-ratio, but over all tokens", "as for mismatch-ratio", (FRESH, OWN, EXACT),
    ),
    Tripwire(
        "mismatch-ess", "stop", "update", 0.999, "effective sample size over the number of tokens", sees.ess,
        "as mismatch-ratio: few tokens would carry the estimate", "as for mismatch-ratio", (FRESH, OWN, EXACT),
    ),
    Tripwire(
        "not-finite", "stop", "update", 0, "losses or gradient norms that are no number", sees.not_finite,
        "a learning rate that is too high, a reward that is not finite, or a logarithm of zero; going on would destroy the weights",
        "lower the learning rate or clip the gradient, and go on from the last checkpoint",
    ),
    Tripwire(
        "lost-state", "stop", "resume", 0, "things that differ from what the run left", sees.lost,
        "a checkpoint that leaves something out: moments of the optimiser, the curriculum's place, the ledger",
        "remove that checkpoint, so that an earlier one is used and the committed steps are computed again",
    ),
    Tripwire(
        "no-spread", "warn", "step", 8, "steps in a row", sees.no_spread,
        "the tasks are all too easy or all too hard, so group-relative credit is zero and nothing is learned",
        "change the tasks, use a curriculum, or raise the group size",
        (RELATIVE, REWARD),
    ),
    Tripwire(
        "no-gradient", "warn", "step", 3, "steps in a row", sees.no_gradient,
        "the loss does not depend on the weights: credit lost on the way, a signal that selects nothing it can move, a detached "
        "log-probability, or a policy so certain that nothing moves it",
        "look at the signals' weights and credit (`strop explain`), and at the entropy on the lines before",
        (TRAINED, REWARD),
    ),
    Tripwire(
        "outcome-collapse", "warn", "step", 0.3, "share of its best outcome that the policy lost", sees.fallen,
        "the updates destroy what the policy could do: a learning rate that is too high for this model, or a reward that pays for "
        "something else than right answers",
        "lower the learning rate and start again, or go back to an earlier checkpoint; read rollouts with high reward and no outcome",
        (FRESH, TRAINED, STEADY),
    ),
    Tripwire(
        "entropy-collapse", "warn", "step", 0.05, "entropy of the last 5 steps over the first 5", sees.entropy,
        "the policy has become certain and explores no more; rewards may still rise, on what it knew already",
        "lower the learning rate, raise the upper clip, add an entropy bonus or a KL to the reference",
        (TRAINED,),
    ),
    Tripwire(
        "length-collapse", "warn", "step", 0.25, "length of the last 5 steps over the first 5", sees.short,
        "replies shrink to next to nothing: a reward or a normalisation that pays for brevity",
        "read the last step's rollouts; check the length term and the reduction",
        (FRESH, TRAINED),
    ),
    Tripwire(
        "runaway-length", "warn", "step", 0.5, "share of rollouts cut at the limit, last 5 steps", sees.long,
        "replies grow without end: a normalisation that dilutes long ones, or an end token that is not trained",
        "read the last step's rollouts; check that the end token is in the row; use MaskOverlong or a length penalty",
        (FRESH, TRAINED),
    ),
    Tripwire(
        "format-gap", "warn", "step", 0.2, "growth of (lenient - strict), last 5 steps against the first 5", sees.format_gap,
        "answers get right but not in the asked form, or the strict parse misses a form the policy has learned",
        "read rollouts that are right leniently only; fix the parse, or pay a little for the form",
    ),
    Tripwire(
        "forged-turn", "warn", "step", 0.05, "share of rollouts that write what opens a turn, last 5 steps", sees.forged,
        "the policy goes on as its user or its tools, so who reads its text as a conversation (a judge, a summary, a person) takes its "
        "inventions for theirs",
        "read the last step's rollouts; check that the end token is trained; give such replies no reward",
        (FRESH, TRAINED, MARKS),
    ),
    Tripwire(
        "dead-seed", "warn", "end", 0, "curves of another seed that are the same", sees.dead_seed,
        "the seed reaches nothing, so the two runs are one, and an interval over seeds would be a lie",
        "find where a constant seed is passed on: task order, sampling noise, initialisation",
    ),
)  # fmt: skip
BY_NAME = {tripwire.name: tripwire for tripwire in TRIPWIRES}


class Tripped(RuntimeError):
    """A tripwire of level stop fired: what was seen, what it usually means, what to do."""

    def __init__(self, found: Sequence[tuple[Tripwire, str]], step: int | None = None, after: str = ""):
        (first, seen), *rest = found
        self.names = tuple(tripwire.name for tripwire, _ in found)
        where = "" if step is None else f" at step {step}"
        text = f"stopped{where} by tripwire {first.name}: {message(first, seen)}"
        text += "".join(f"\nAlso {tripwire.name}: {more}." for tripwire, more in rest)
        super().__init__(f"{text}{after}\nTo go on all the same: --tripwire {first.name}=off")


def message(tripwire: Tripwire, seen: str) -> str:
    return f"{seen}. It usually means: {tripwire.means}. What to do: {tripwire.do}."


def limits(text: str, engine: Mapping[str, float] = MappingProxyType({})) -> dict[str, float | None]:
    """'entropy-collapse=0.1,grader=off' -> every tripwire's limit; None for one that is off. `engine`: those its arithmetic asks for."""
    found: dict[str, float | None] = {tripwire.name: engine.get(tripwire.name, tripwire.limit) for tripwire in TRIPWIRES}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in item.partition("="))
        if name not in BY_NAME:
            raise ValueError(f"no tripwire {name!r}. {nearest(name, BY_NAME)}")
        if value == "off":
            found[name] = None
            continue
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not equals or not 0 <= number < float("inf"):
            raise ValueError(f"tripwire {item!r}: write {name}=LIMIT with a number of at least 0 ({BY_NAME[name].counts}), or {name}=off")
        found[name] = number
    return found
