"""Influence: how far a bit more weight on an example would raise what is measured of a model (EK-FAC; Infra, arXiv:2505.19949).

    I(z) = grad f^T H^-1 grad log p(z)            f  mean log-probability of right replies;  z  an example, a span, a token
    H^-1 G = Q_S [ (Q_S^T G Q_A) / (Lambda + damping * mean Lambda) ] Q_A^T                  of one linear map's G = sum s a^T

    A = mean a a^T, S = mean s s^T          over tokens: a what goes into the map, s the slope of what comes out, for a label that the model
                                            drew itself; Q_A, Q_S are their eigenvectors
    Lambda = mean (Q_S^T G Q_A)^2           over rows: the curvature in those directions, where K-FAC has products of eigenvalues

H^-1 grad f is one direction in the weights, so the influence of every token is the slope of its log-probability along it: one pass forward
with tangents, and no gradient of an example is ever made. A rollout's tokens count by their credit: I = sum credit * I(token).

Maps: the linear ones of the model's MLPs, as in the paper, each a block of its own. What attention and embeddings learned is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from strop.seams.context import keyed

LABELS = ("drawn", "given")
"""drawn: from the model's own prediction, which makes H its Fisher matrix. given: the text's, the empirical one."""
DAMPING = 0.1
"""Of a map's mean curvature."""
EDGE = 1e-12
"""A direction with less than this share of a map's largest curvature has none."""


@dataclass(frozen=True)
class Text:
    """A row of tokens, and the places of those whose log-probability counts."""

    tokens: tuple[int, ...]
    at: tuple[int, ...]
    """Not 0: nothing before it would give it a probability."""
    weight: tuple[float, ...]
    """Of each: 1, or its credit."""
    temperature: float = 1.0
    """It was drawn at; the learner applies the same."""

    def __post_init__(self) -> None:
        if len(self.at) != len(self.weight) or any(not 0 < place < len(self.tokens) for place in self.at):
            raise ValueError(f"a text of {len(self.tokens)} tokens: {len(self.at)} places behind its first, and a weight for each")


@dataclass(frozen=True)
class Example:
    """What is asked about: a demonstration, or a rollout with its credit."""

    id: str
    texts: tuple[Text, ...]
    """Its rows."""
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON: its class, its task."""

    @property
    def length(self) -> int:
        """Tokens that count."""
        return sum(len(text.at) for text in self.texts)


Slopes = dict[str, Tensor]
"""A matrix [out, in] for each map, in its weights; a bias is one column more."""


# ---------------------------------------------------------------------------------------------- the model, read


class Reader(nn.Module):
    """The model as a function from texts to the logits of the tokens that count."""

    def __init__(self, policy: Any):
        super().__init__()
        self.model: Any = policy.model
        self.pad: int = policy.eos[0] if policy.eos else 0
        self.apart: bool = policy.splits()

    def forward(self, ids: Tensor, row_T: Tensor, before_T: Tensor) -> Tensor:
        if not self.apart:
            return self.model(input_ids=ids, use_cache=False).logits[row_T, before_T]
        state = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return self.model.get_output_embeddings()(state[row_T, before_T])


@dataclass(frozen=True)
class Pass:
    """Texts of one forward pass, padded to the right."""

    numbers: tuple[int, ...]
    """Which of the texts."""
    ids: Tensor
    real: Tensor
    """[row, place]: no padding."""
    row_T: Tensor
    before_T: Tensor
    target_T: Tensor
    weight_T: Tensor
    temperature_T: Tensor

    @property
    def asked(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.ids, self.row_T, self.before_T


def passes(reader: Reader, texts: Sequence[Text], budget: int) -> Iterator[Pass]:
    """Every text once, those of about one length together, within so many padded tokens."""
    order = sorted((n for n, text in enumerate(texts) if text.at), key=lambda n: len(texts[n].tokens))
    while order:
        count = 1
        while count < len(order) and len(texts[order[count]].tokens) * (count + 1) <= budget:
            count += 1
        yield _padded(reader, texts, order[:count])
        order = order[count:]


def _padded(reader: Reader, texts: Sequence[Text], numbers: Sequence[int]) -> Pass:
    some, first = [texts[n] for n in numbers], next(reader.parameters())
    width = max(len(text.tokens) for text in some)
    each = [(row, text, place, weight) for row, text in enumerate(some) for place, weight in zip(text.at, text.weight, strict=True)]

    def whole(values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=first.device)

    return Pass(
        tuple(numbers),
        torch.tensor([[*text.tokens, *[reader.pad] * (width - len(text.tokens))] for text in some], device=first.device),
        torch.arange(width, device=first.device)[None] < whole(len(text.tokens) for text in some)[:, None],
        whole(row for row, *_ in each),
        whole(place - 1 for _, _, place, _ in each),
        whole(text.tokens[place] for _, text, place, _ in each),
        torch.tensor([weight for *_, weight in each], dtype=first.dtype, device=first.device),
        torch.tensor([text.temperature for _, text, *_ in each], dtype=first.dtype, device=first.device),
    )


def likely(logits: Tensor, one: Pass, target_T: Tensor | None = None) -> Tensor:
    """Log-probability of each token that counts, or of another in its place."""
    said = (logits / one.temperature_T[:, None]).log_softmax(-1)
    return said.gather(-1, (one.target_T if target_T is None else target_T)[:, None])[:, 0]


def maps(policy: Any, which: str = "mlp") -> dict[str, nn.Linear]:
    """The linear maps whose weights are trained: of the MLPs, or `all` but the head. With adapters, the adapters' own."""
    trained = {id(weight) for weight in policy.parameters().values()}
    head = policy.model.get_output_embeddings()
    found = {n: m for n, m in policy.model.named_modules() if isinstance(m, nn.Linear) and m is not head and id(m.weight) in trained}
    kept = found if which == "all" else {name: module for name, module in found.items() if not ATTENTION.search(name)}
    if not kept:
        where = f"; it has {len(found)} in its attention: ask for all of them, --maps all" if found else ""
        raise ValueError(f"model {policy.name!r} has no linear map in an MLP that is trained{where}")
    return kept


ATTENTION = re.compile(r"attn|attention")


@contextmanager
def _still(reader: Reader) -> Generator[None]:
    """Slopes of what maps give out, and of no weight."""
    asked = [(weight, weight.requires_grad) for weight in reader.parameters()]
    reader.requires_grad_(False)
    try:
        yield
    finally:
        for weight, was in asked:
            weight.requires_grad_(was)


Seen = tuple[str, Tensor, Tensor]
"""A map, what went in and the slope of what came out: [row, place, in] and [row, place, out]."""


def seen(
    reader: Reader, found: Mapping[str, nn.Linear], texts: Sequence[Text], budget: int, loss: Callable[[Tensor, Pass], Tensor]
) -> Iterator[tuple[Pass, list[Seen]]]:
    """What each map saw in each pass, and the slope of this loss, a sum over what counts, in what it gave out."""
    held: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def look(name: str) -> Callable[..., Tensor]:
        def see(module: nn.Linear, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
            if out.ndim != 3:
                raise ValueError(f"map {name} sees tokens without their rows ({tuple(out.shape)}), as experts do: it cannot be looked at")
            out = out if out.requires_grad else out.requires_grad_()
            held.setdefault(name, []).append((_biased(given[0].detach(), module), out))
            return out

        return see

    hooks = [module.register_forward_hook(look(name)) for name, module in found.items()]
    try:
        with _still(reader), torch.enable_grad():
            for one in passes(reader, texts, budget):
                held.clear()
                value = loss(reader(*one.asked), one)
                places = [(name, entered, out) for name, calls in held.items() for entered, out in calls]
                slopes = cast("tuple[Tensor | None, ...]", torch.autograd.grad(value, [out for *_, out in places], allow_unused=True))
                yield (
                    one,
                    [
                        (name, entered, torch.zeros_like(out) if slope is None else slope)
                        for (name, entered, out), slope in zip(places, slopes, strict=True)
                    ],
                )
    finally:
        for hook in hooks:
            hook.remove()


def _biased(entered: Tensor, module: nn.Linear) -> Tensor:
    return torch.cat([entered, torch.ones_like(entered[..., :1])], -1) if has_bias(module) else entered


def has_bias(module: nn.Linear) -> bool:
    return cast("Tensor | None", module.bias) is not None


def numbers(values: Tensor) -> list[float]:
    return cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


def turns(matrix: Tensor) -> Tensor:
    """Eigenvectors, in columns."""
    return cast(Tensor, torch.linalg.eigh(matrix)[1])  # pyright: ignore[reportUnknownMemberType]


# ---------------------------------------------------------------------------------------------- curvature


@dataclass(frozen=True)
class Curvature:
    """Of one map: the directions, and how much the model's predictions move along each."""

    inward: Tensor
    """Q_A, eigenvectors of what goes in."""
    outward: Tensor
    """Q_S, of slopes of what comes out."""
    value: Tensor
    """Lambda [out, in]."""

    @property
    def silent(self) -> bool:
        """Nothing that the model writes depends on it: a dead map, or one behind a dead one."""
        return not bool(self.value.max() > 0)

    @property
    def flat(self) -> int:
        """Directions without curvature: dead units, inputs that never vary."""
        return int((self.value <= EDGE * self.value.max()).sum())

    def solve(self, slope: Tensor, damping: float = DAMPING) -> Tensor:
        """H^-1 of a slope. A map without any curvature gives zero: it has no say."""
        if self.silent:
            return torch.zeros_like(slope)
        if not damping and self.flat:
            raise ValueError(
                f"damping 0 divides by the curvature, and {self.flat} of {self.value.numel()} directions of a map have none, as those of "
                "dead units: name a damping above 0, as 0.1"
            )
        turned = self.outward.T @ slope.to(self.value.dtype) @ self.inward
        turned = turned / (self.value + damping * self.value.mean())
        return (self.outward @ turned @ self.inward.T).to(slope.dtype)


def curvature(look: Callable[[int], Iterable[tuple[Tensor, list[Seen]]]]) -> dict[str, Curvature]:
    """From two looks at the same rows: `look(0)`, then `look(1)`, each giving which places are real and what each map saw there. Slopes
    are those of the log-probability of labels, so their outer products are the Fisher matrix."""
    inward, outward, tokens = dict[str, Tensor](), dict[str, Tensor](), 0
    for real, each in look(0):
        tokens += int(real.sum())
        for name, entered, slope in each:
            a, s = entered[real], slope[real]
            inward[name] = inward.get(name, 0) + (a.T @ a).double()
            outward[name] = outward.get(name, 0) + (s.T @ s).double()
    turned = {name: (turns(inward[name] / tokens), turns(outward[name] / tokens)) for name in inward}
    value, rows = {name: s.new_zeros(len(s), len(a)) for name, (a, s) in turned.items()}, 0
    for real, each in look(1):
        rows += len(real)
        made: dict[str, Tensor] = {}
        for name, entered, slope in each:
            q_a, q_s = (q.to(slope.dtype) for q in turned[name])
            made[name] = made.get(name, 0) + (slope @ q_s).mT @ (torch.where(real[..., None], entered, 0) @ q_a)
        for name, slope in made.items():
            value[name] += slope.square().sum(0).double()
    return {name: Curvature(a, s, value[name] / rows) for name, (a, s) in turned.items()}


def curved(
    reader: Reader, found: Mapping[str, nn.Linear], texts: Sequence[Text], *, labels: str = "drawn", seed: int = 0, budget: int = 8192
) -> dict[str, Curvature]:
    """Of the model at these texts."""

    def look(turn: int) -> Iterator[tuple[Tensor, list[Seen]]]:
        noise = torch.Generator().manual_seed(keyed(seed, "labels", turn).randrange(2**63))

        def loss(logits: Tensor, one: Pass) -> Tensor:
            if labels == "given":
                return likely(logits, one).sum()
            chance = (logits.detach() / one.temperature_T[:, None]).softmax(-1)
            return likely(logits, one, torch.multinomial(chance.cpu(), 1, generator=noise)[:, 0].to(chance.device)).sum()

        return ((one.real, each) for one, each in seen(reader, found, texts, budget, loss))

    return curvature(look)


# ---------------------------------------------------------------------------------------------- influence


def slope_of(reader: Reader, found: Mapping[str, nn.Linear], texts: Sequence[Text], budget: int = 8192) -> Slopes:
    """Of f: the mean over texts of the weighted log-probability of what counts in them."""
    total: Slopes = {}
    for one, each in seen(reader, found, texts, budget, lambda logits, one: (one.weight_T * likely(logits, one)).sum()):
        for name, entered, slope in each:
            made = slope.flatten(0, 1).T @ torch.where(one.real[..., None], entered, 0).flatten(0, 1)
            total[name] = total.get(name, 0) + made / len(texts)
    return total


def solved(curves: Mapping[str, Curvature], slope: Slopes, damping: float = DAMPING) -> Slopes:
    """H^-1 grad f."""
    return {name: curves[name].solve(one, damping) for name, one in slope.items()}


def along(
    reader: Reader, found: Mapping[str, nn.Linear], texts: Sequence[Text], directions: Sequence[Slopes], budget: int = 8192
) -> list[list[Tensor]]:
    """The slope, along each direction in the weights, of the log-probability of each token that counts, text by text: unweighted. What does
    not depend on a direction is computed once for all of them."""
    weights, tangents = dict[str, Tensor](), dict[str, Tensor]()
    for name, module in found.items():
        whole = torch.stack([direction[name] for direction in directions])
        weights[f"model.{name}.weight"] = module.weight.detach()
        tangents[f"model.{name}.weight"] = whole[..., : module.in_features]
        if has_bias(module):
            weights[f"model.{name}.bias"], tangents[f"model.{name}.bias"] = module.bias.detach(), whole[..., -1]
    made: list[list[Tensor]] = [[torch.zeros(0)] * len(texts) for _ in directions]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the others have no tangents
        for one in passes(reader, texts, budget // len(directions)):

            def slope_T(changes: dict[str, Tensor], one: Pass = one) -> Tensor:
                def said(changed: dict[str, Tensor]) -> Tensor:
                    return likely(functional_call(reader, changed, one.asked), one)

                return cast("tuple[Tensor, Tensor]", jvp(said, (weights,), (changes,)))[1]

            for own, slopes in zip(made, vmap(slope_T)(tangents).cpu(), strict=True):
                for number, part in zip(one.numbers, torch.split(slopes, [len(texts[n].at) for n in one.numbers]), strict=True):
                    own[number] = part
    return made


@dataclass(frozen=True)
class Influence:
    """Of one example on one target: one number per token that counts, row by row; credit is in them."""

    tokens: tuple[tuple[float, ...], ...]

    @property
    def whole(self) -> float:
        return sum(map(sum, self.tokens))

    def of(self, start: int, stop: int, row: int = 0) -> float:
        """Of a stretch of a row's tokens, counted among those that count."""
        return sum(self.tokens[row][start:stop])


def influence(
    reader: Reader, found: Mapping[str, nn.Linear], examples: Sequence[Example], directions: Sequence[Slopes], budget: int = 8192
) -> list[list[Influence]]:
    """What each example's log-probability, weighted, gains along each direction: with `solved` the influence, with grad f itself the dot
    product of gradients."""
    texts = [text for example in examples for text in example.texts]
    weights = [torch.tensor(text.weight, dtype=torch.float64) for text in texts]
    made = list[list[Influence]]()
    for slopes in along(reader, found, texts, directions, budget):
        each = iter(tuple(numbers(own.double() * weight)) for own, weight in zip(slopes, weights, strict=True))
        made.append([Influence(tuple(next(each) for _ in example.texts)) for example in examples])
    return made


def logp(reader: Reader, texts: Sequence[Text], budget: int = 8192) -> list[float]:
    """Weighted log-probability of what counts in each text."""
    made = [0.0] * len(texts)
    with torch.no_grad():
        for one in passes(reader, texts, budget):
            own = one.weight_T * likely(reader(*one.asked), one)
            summed = torch.zeros(len(one.numbers), dtype=own.dtype, device=own.device).index_add_(0, one.row_T, own)
            for number, value in zip(one.numbers, numbers(summed), strict=True):
                made[number] = value
    return made


def forecast(recipe: Any, which: str, longest: int, budget: int, targets: int) -> dict[str, int]:
    """Bytes by what holds them, from the model's config alone: the passes are made on tensors without content."""
    from strop.forecast import Meter
    from strop.policies.causal import blank

    policy, mode = blank(recipe)
    policy.eos = (0,)
    found, reader = maps(policy, which), Reader(policy)
    each = [(m.out_features, m.in_features + has_bias(m), m.weight.element_size()) for m in found.values()]
    at = tuple(range(1, longest))
    texts = [Text((0,) * longest, at, (1.0,) * len(at))] * max(budget // longest, 1)
    with mode, Meter() as meter:
        for _ in seen(reader, found, texts, budget, lambda logits, one: likely(logits, one).sum()):
            pass
    return {
        "weights": sum(weight.numel() * weight.element_size() for weight in policy.model.parameters()),
        "curvature": sum(8 * (2 * o * o + 2 * i * i + o * i) for o, i, _ in each),  # covariances beside their eigenvectors
        "directions": sum(2 * targets * o * i * size for o, i, size in each),
        "a pass": meter.peak,
        "gradients of a pass's rows": max(len(texts) * o * i * size for o, i, size in each),
    }


# ---------------------------------------------------------------------------------------------- whether it holds


def ranks(values: Sequence[float]) -> list[float]:
    """From 0; equals share the middle of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, start = [0.0] * len(values), 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for at in order[start:stop]:
            found[at] = (start + stop - 1) / 2
        start = stop
    return found


def agreement(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where one of them is constant.

    >>> agreement([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    """
    a, b = (torch.tensor(ranks(values), dtype=torch.float64) for values in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = (a.square().sum() * b.square().sum()).sqrt().item()
    return round((a * b).sum().item() / size, 12) if size else None


def subsets(count: int, size: int, seed: int = 0) -> list[tuple[int, ...]]:
    """So many random halves of as many examples, each as numbers in order."""
    return [tuple(sorted(keyed(seed, "half", n).sample(range(size), size // 2))) for n in range(count)]


def foretold(influences: Sequence[float], chosen: Sequence[Sequence[int]]) -> list[float]:
    """What a score of single examples says of sets of them: its sum."""
    return [sum(influences[n] for n in one) for one in chosen]


def interval(
    one: Sequence[float], other: Sequence[float], less: Sequence[float] | None = None, draws: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % of the agreement, or of how far it is above that of `less`, over subsets drawn again."""
    rng, found = keyed(seed, "bootstrap"), list[float]()
    for _ in range(draws):
        at = rng.choices(range(len(one)), k=len(one))
        first = agreement([one[i] for i in at], [other[i] for i in at])
        second = 0.0 if less is None else agreement([less[i] for i in at], [other[i] for i in at])
        if first is not None and second is not None:
            found.append(first - second)
    found.sort()
    return (found[int(0.025 * len(found))], found[min(int(0.975 * len(found)), len(found) - 1)]) if found else None
