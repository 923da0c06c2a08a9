"""Batch: committed groups as ragged arrays. Rows of tokens, the index, and tracks per decision.

A decision is a token that somebody wrote: action, forced or teacher; prompts and observations are context. Which of
them are trained follows from `Row.trains` and the rollout's fate; nobody writes a mask.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice

import torch
from torch import Tensor

from strop.records import KEEP, UNSCORED, Fate, Group, Rollout, Row, Sampling, Scores, SpanScores
from strop.seams.context import keyed
from strop.seams.index import Index
from strop.seams.layout import Piece, pieces
from strop.seams.signal import KINDS, Where


@dataclass(frozen=True)
class Packed:
    """One row: its tokens and the places of its decisions."""

    tokens: tuple[int, ...]
    at: tuple[int, ...]
    pieces: tuple[Piece, ...] = ()
    """Where they stand and what they see, in a row of branches; empty where each sees all before it."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """What stands before its first decision."""
        return self.tokens[: self.at[0]] if self.at else self.tokens

    @property
    def before(self) -> tuple[int, ...]:
        """The places whose states the decisions are read from."""
        if not self.pieces:
            return tuple(place - 1 for place in self.at)
        first = {piece.start: piece.behind for piece in self.pieces}
        return tuple(first.get(place, place - 1) for place in self.at)


@dataclass(frozen=True)
class Batch:
    """Groups as arrays. Parts see its tracks and facts by name; a grader gets one from `ctx.evaluate`."""

    rows: tuple[Packed, ...]
    """Tokens of each row, and where its decisions stand."""
    index: Index
    """Which row, rollout and group each decision belongs to."""
    units: tuple[str, ...]
    """Rollout ids, one per R."""
    kind_T: Tensor
    """Place of its segment's kind in (action, forced, teacher)."""
    trains_T: Tensor
    """Somebody's row trains it and its rollout is kept."""
    sampling_T: Tensor
    """Which of `samplings` drew it: the learner applies the same temperature and allowed ids."""
    samplings: tuple[Sampling, ...]
    weight_R: Tensor
    """Of its fate."""
    tracks: dict[str, Tensor]
    """Numbers per decision, by name: NaN where nobody measured one."""
    facts: dict[str, Tensor]
    """Numbers per rollout, by name."""
    labels: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Decisions inside spans, by label."""

    @property
    def trained_T(self) -> Tensor:
        """What statistics over trained decisions see: the kept rollouts' actions."""
        return self.trains_T & (self.kind_T == KINDS.index("action"))

    def with_(self, **tracks: Tensor) -> Batch:
        """The same with these tracks besides."""
        return replace(self, tracks={**self.tracks, **tracks})

    def have(self) -> dict[str, object]:
        """Everything a part may read, by name."""
        return {**self.facts, **self.tracks, "trained_T": self.trained_T, "index": self.index}

    def of_kinds(self, kinds: Iterable[str]) -> Tensor:
        """The decisions of these segment kinds, as a mask."""
        wanted = torch.zeros(len(KINDS), dtype=torch.bool)
        for kind in kinds:
            wanted[KINDS.index(kind)] = True
        return wanted[self.kind_T]

    def selected(self, where: Where, key: tuple[str | int, ...]) -> Tensor:
        """The decisions a signal applies to, as a mask."""
        mask_T = self.trains_T & self.of_kinds(where.kinds)
        if where.labels:
            inside = torch.zeros_like(mask_T)
            for label in where.labels:
                inside = inside | self.labels.get(label, torch.zeros_like(mask_T))
            mask_T = mask_T & inside
        if where.side:
            wanted_R = self.facts["chosen_R"] == float(where.side == "chosen")
            mask_T = mask_T & self.index.spread(wanted_R, "rollout", "token")
        if where.share < 1:
            rng = keyed(*key, "share")
            draw = torch.tensor([rng.random() for _ in range(len(mask_T))], dtype=torch.float64)
            mask_T = mask_T & (draw < where.share)
        return mask_T

    def take(self, rows: list[int]) -> Batch:
        """Only these rows, in this order; facts over rollouts stay whole, numbers of rollouts and groups too."""
        index, at_T = self.index.rows(torch.tensor(rows, dtype=torch.long))
        return replace(
            self,
            rows=tuple(self.rows[i] for i in rows),
            index=index,
            kind_T=self.kind_T[at_T],
            trains_T=self.trains_T[at_T],
            sampling_T=self.sampling_T[at_T],
            tracks={name: track[at_T] for name, track in self.tracks.items()},
            labels={name: mask[at_T] for name, mask in self.labels.items()},
        )

    def only(self, at_T: Tensor) -> Batch:
        """Only these decisions, in order; every row stays, though it may hold none."""
        index = self.index.select(at_T)
        held = iter(torch.tensor([p for row in self.rows for p in row.at])[at_T].tolist())
        counts = index.count("token", "row").tolist()
        return replace(
            self,
            rows=tuple(replace(row, at=tuple(islice(held, count))) for row, count in zip(self.rows, counts, strict=True)),
            index=index,
            kind_T=self.kind_T[at_T],
            trains_T=self.trains_T[at_T],
            sampling_T=self.sampling_T[at_T],
            tracks={name: track[at_T] for name, track in self.tracks.items()},
            labels={name: mask[at_T] for name, mask in self.labels.items()},
        )

    def padded(self, rows: Sequence[int]) -> int:
        """Tokens that a forward pass over these rows computes."""
        return max(len(self.rows[row].tokens) for row in rows) * len(rows)

    @property
    def shortest(self) -> list[int]:
        """The row that is cheapest to compute."""
        return [min(range(len(self.rows)), key=lambda row: len(self.rows[row].tokens))]

    def per_rollout(self, number_W: Tensor) -> Tensor:
        """A row's number for its rollout, 0 for rollouts that are not here. A rollout of several rows has no one row to take it from."""
        rollout_W = self.index.rollout_W.to(number_W.device)
        if len(rollout_W.unique()) < len(rollout_W):
            twice = self.units[int(rollout_W.mode().values)]
            raise ValueError(
                f"rollout {twice!r} has several rows that are trained, each with a prompt of its own, so a head with one number per prompt "
                "does not know which to read. Use a sampler that writes a rollout in one row, or a method without such a head."
            )
        return number_W.new_zeros(self.index.size("rollout")).index_copy(0, rollout_W, number_W)

    def minibatches(self, sizes: int | Sequence[int], order: list[int] | None = None) -> Iterator[Batch]:
        """So many whole groups at a time, in the given order of groups; sizes may differ."""
        numbers = list(range(self.index.groups)) if order is None else order
        sizes = [sizes] * -(-len(numbers) // sizes) if isinstance(sizes, int) else sizes
        group_W = self.index.up("row", "group").tolist()
        rows_of: dict[int, list[int]] = {}
        for row, group in enumerate(group_W):
            rows_of.setdefault(group, []).append(row)
        for start, size in zip(accumulate((0, *sizes)), sizes, strict=False):
            rows = [row for group in numbers[start : start + size] for row in rows_of.get(group, [])]
            if rows:
                yield self.take(rows)

    def micros(self, budget: int, grain: str, used_T: Tensor | None = None) -> list[list[int]]:
        """Rows for each forward pass: padded tokens within the budget, an atom of the grain never split.

        Rows without a used decision (by default, one that is trained) are left out. Atoms are sorted by length, so little is padded.
        """
        used_T = self.trains_T if used_T is None else used_T
        trains_W = self.index.sum(used_T.to(torch.long), "token", "row").tolist()
        atom_W = list(range(len(self.rows))) if grain in ("token", "row") else self.index.up("row", grain).tolist()
        atoms: dict[int, list[int]] = {}
        for row, atom in enumerate(atom_W):
            if trains_W[row]:
                atoms.setdefault(atom, []).append(row)
        longest = {atom: max(len(self.rows[r].tokens) for r in rows) for atom, rows in atoms.items()}
        packs: list[list[int]] = []
        width = 0
        for atom in sorted(atoms, key=lambda a: (longest[a], a)):
            rows = atoms[atom]
            cost = longest[atom] * len(rows)
            if cost > budget:
                raise ValueError(
                    f"one {grain if grain != 'token' else 'row'} takes {cost} tokens, more than token_budget={budget}: "
                    "raise token_budget in the recipe or shorten max_tokens."
                )
            width = max(width, longest[atom])
            if packs and width * (len(packs[-1]) + len(rows)) <= budget:
                packs[-1] += rows
            else:
                packs.append(list(rows))
                width = longest[atom]
        return packs


def pack(
    groups: Sequence[Group], fates: Mapping[str, Fate], rewards: Mapping[str, float | None], version: int, scores: Scores = UNSCORED
) -> Batch:
    """Kept and context rollouts as arrays, with their channels; dropped ones are in no statistic. Copies come last."""
    sizes: list[list[list[int]]] = []
    rows: list[Packed] = []
    kind: list[int] = []
    trains: list[bool] = []
    sampling: list[int] = []
    logp: list[float] = []
    age: list[float] = []
    samplings: list[Sampling] = [Sampling()]
    labels: dict[str, list[int]] = {}
    units: list[str] = []
    weight: list[float] = []
    reward: list[float | None] = []
    cut: list[bool] = []
    length: list[float] = []
    nested: list[list[tuple[int, int, str]]] = []
    spans: dict[str, list[tuple[int, float]]] = {name: [] for channels in scores.spans.values() for name in channels}
    for members in _members(groups, fates):
        sizes.append([])
        for rollout in members:
            fate = fates.get(rollout.id, KEEP)
            units.append(rollout.id)
            weight.append(fate.weight)
            reward.append(rewards[rollout.id])
            cut.append(rollout.stop == "length")
            length.append(float(rollout.length))
            nested.append([(len(sizes), depth, key) for depth, key in enumerate(rollout.keys.get("nested", ()))])
            sizes[-1].append([])
            ends = _ends(rollout, scores.spans.get(rollout.id, {}))
            for row in rollout.rows:
                at: list[int] = []
                start = 0
                for segment in row.segments:
                    if segment.kind in KINDS:
                        count = len(segment.tokens)
                        for span in segment.spans:
                            labels.setdefault(span.label, []).extend(len(kind) + i for i in range(span.start, span.stop))
                        for name, score, place in ends.get(segment.id, ()):
                            spans[name].append((len(kind) + place, score))
                        if not start and count:
                            raise ValueError(
                                f"rollout {rollout.id!r}: its row begins with a decision; nothing before it gave it a probability"
                            )
                        at.extend(range(start, start + count))
                        kind.extend([KINDS.index(segment.kind)] * count)
                        trains.extend([segment.id in row.trains and fate.kind == "keep"] * count)
                        logp.extend(segment.logp if segment.logp is not None else [float("nan")] * count)
                        drawn = segment.author.sampling if segment.author else Sampling()
                        if drawn not in samplings:
                            samplings.append(drawn)
                        sampling.extend([samplings.index(drawn)] * count)
                        theirs = segment.kind == "teacher"  # whose author counts updates of its own
                        age.extend([float(version - segment.author.version) if segment.author and not theirs else float("nan")] * count)
                    start += len(segment.tokens)
                rows.append(Packed(row.tokens, tuple(at), pieces(row)))
                sizes[-1][-1].append(len(at))
    masks = {name: torch.zeros(len(kind), dtype=torch.bool) for name in labels}
    for name, places in labels.items():
        masks[name][places] = True
    return Batch(
        rows=tuple(rows),
        index=Index.of(sizes),
        units=tuple(units),
        kind_T=torch.tensor(kind, dtype=torch.long),
        trains_T=torch.tensor(trains, dtype=torch.bool),
        sampling_T=torch.tensor(sampling, dtype=torch.long),
        samplings=tuple(samplings),
        weight_R=torch.tensor(weight),
        tracks={
            "sampled_logp_T": torch.tensor(logp),
            "age_T": torch.tensor(age),
            **{f"{name}_T": _placed(found, len(kind)) for name, found in spans.items()},
        },
        facts={
            **{f"{name}_R": _known([scores.get(unit, name) for unit in units]) for name in scores.channels()},
            "reward_R": _known(reward),
            "truncated_R": torch.tensor(cut, dtype=torch.bool),
            "length_R": torch.tensor(length),
            "nested_RD": numbered(nested),
        },
        labels=masks,
    )


def _ends(rollout: Rollout, scored: Mapping[str, SpanScores]) -> dict[str, list[tuple[str, float, int]]]:
    """By segment: (channel, a stretch's score, the place of its last token), where that is known."""
    last: dict[tuple[str, int], tuple[str, int]] = {}
    for segment in (segment for row in rollout.rows for segment in row.segments if scored):
        last |= {(span.label, span.number): (segment.id, span.stop - 1) for span in segment.spans if span.stop > span.start}
    found: dict[str, list[tuple[str, float, int]]] = {}
    for channel, (label, said) in scored.items():
        for number, score in enumerate(said):
            if score is not None and (label, number) in last:
                segment_id, place = last[label, number]
                found.setdefault(segment_id, []).append((channel, score, place))
    return found


def _placed(scores: Sequence[tuple[int, float]], count: int) -> Tensor:
    """A track of these numbers at their places, NaN elsewhere."""
    track = torch.full((count,), float("nan"))
    for place, score in scores:
        track[place] = score
    return track


def heard(groups: Sequence[Group], others: Collection[str]) -> list[Group]:
    """The groups as they train one policy: what these other ones wrote is an observation to it."""
    return [
        replace(group, rollouts=tuple(replace(r, rows=tuple(_heard(row, others) for row in r.rows)) for r in group.rollouts))
        for group in groups
    ]


def _heard(row: Row, others: Collection[str]) -> Row:
    theirs = {s.id for s in row.segments if s.kind == "action" and s.author is not None and s.author.policy in others}
    if not theirs:
        return row
    segments = (replace(s, kind="observation", logp=None) if s.id in theirs else s for s in row.segments)
    return replace(row, segments=tuple(segments), trains=row.trains - theirs)


def _members(groups: Sequence[Group], fates: Mapping[str, Fate]) -> Iterator[list[Rollout]]:
    """The rollouts of each group that are in the batch: every group once, then the second copies, and so on."""
    inside = [[r for r in group.rollouts if fates.get(r.id, KEEP).kind in ("keep", "context")] for group in groups]
    times = [max((fates.get(r.id, KEEP).times for r in members), default=0) for members in inside]
    for copy in range(max(times, default=0)):
        yield from (members for members, count in zip(inside, times, strict=True) if copy < count)


def _known(values: list[float | None]) -> Tensor:
    return torch.tensor([float("nan") if value is None else value for value in values])


def numbered(nested: Sequence[Sequence[Hashable]]) -> Tensor:
    """[R, D] numbers of the sub-groups each rollout belongs to, outermost first; -1 beyond its last one.

    >>> numbered([["a", "b"], ["a"], []]).tolist()
    [[0, 1], [0, -1], [-1, -1]]
    """
    numbers: dict[Hashable, int] = {}
    deepest = max(map(len, nested), default=0)
    rows = [[*(numbers.setdefault(key, len(numbers)) for key in keys), *[-1] * (deepest - len(keys))] for keys in nested]
    return torch.tensor(rows, dtype=torch.long).reshape(len(nested), deepest)
