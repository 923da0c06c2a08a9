"""Index: which row, rollout and group each decision belongs to. Everything ragged, nothing padded.

    T decisions -> W rows -> R rollouts -> G groups -> the batch

Every statistic names where it comes from and where it goes: `index.mean(reward_R, "rollout", "group")`
has one number per group; `index.spread(mean_G, "group", "rollout")` hands it back to the members.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = ("token", "row", "rollout", "group", "batch")


@dataclass(frozen=True)
class Index:
    row_T: Tensor
    """The row of each decision."""
    rollout_W: Tensor
    """The rollout of each row."""
    group_R: Tensor
    """The group of each rollout."""
    groups: int
    """How many groups there are."""

    @staticmethod
    def of(sizes: list[list[list[int]]], device: torch.device | str = "cpu") -> Index:
        """From nested counts: groups of rollouts of rows of decisions.

        >>> Index.of([[[2], [1, 3]], [[1]]]).rollout_W.tolist()
        [0, 1, 1, 2]
        """
        rows = [(g, r, count) for g, group in enumerate(sizes) for r, rollout in enumerate(group) for count in rollout]
        counts = torch.tensor([count for _, _, count in rows], dtype=torch.long, device=device)
        starts = [0]
        for group in sizes:
            starts.append(starts[-1] + len(group))
        rollout_W = torch.tensor([starts[g] + r for g, r, _ in rows], dtype=torch.long, device=device)
        group_R = torch.tensor([g for g, group in enumerate(sizes) for _ in group], dtype=torch.long, device=device)
        row_T = torch.repeat_interleave(torch.arange(len(rows), device=device), counts)
        return Index(row_T, rollout_W, group_R, len(sizes))

    @staticmethod
    def one_group(n: int) -> Index:
        """n rollouts of one task with one decision each: enough for rollout statistics."""
        return Index.of([[[1]] * n])

    def size(self, level: str) -> int:
        """How many units there are of a level: token (a decision), row, rollout, group, batch."""
        return {"token": len(self.row_T), "row": len(self.rollout_W), "rollout": len(self.group_R), "group": self.groups, "batch": 1}[level]

    def up(self, fine: str, coarse: str) -> Tensor:
        """For each unit at `fine`, the number of the `coarse` unit that holds it."""
        at, to = LEVELS.index(fine), LEVELS.index(coarse)
        if at > to:
            raise ValueError(f"{coarse} is finer than {fine}")
        ids = torch.arange(self.size(fine), device=self.row_T.device)
        for level in LEVELS[at:to]:
            if level == "token":
                ids = self.row_T[ids]
            elif level == "row":
                ids = self.rollout_W[ids]
            elif level == "rollout":
                ids = self.group_R[ids]
            else:
                ids = torch.zeros_like(ids)
        return ids

    def sum(self, x: Tensor, fine: str, coarse: str) -> Tensor:
        """x has one number per `fine` unit; what each `coarse` unit holds is added up."""
        return x.new_zeros(self.size(coarse)).index_add(0, self.up(fine, coarse), x)

    def count(self, fine: str, coarse: str) -> Tensor:
        """How many `fine` units each `coarse` unit holds, as integers."""
        return torch.bincount(self.up(fine, coarse), minlength=self.size(coarse))

    def mean(self, x: Tensor, fine: str, coarse: str) -> Tensor:
        """The mean of what each `coarse` unit holds. A unit that holds nothing has mean 0."""
        return self.sum(x, fine, coarse) / self.count(fine, coarse).clamp_min(1).to(x.dtype)

    def max(self, x: Tensor, fine: str, coarse: str) -> Tensor:
        """The largest of what each `coarse` unit holds. A unit that holds nothing has maximum -inf."""
        return x.new_full((self.size(coarse),), -torch.inf).scatter_reduce(0, self.up(fine, coarse), x, "amax")

    def spread(self, x: Tensor, coarse: str, fine: str) -> Tensor:
        """The other way: each `fine` unit gets the number of the `coarse` one that holds it."""
        return x[self.up(fine, coarse)]

    def active(self, level: str) -> Tensor:
        """Units that hold at least one decision."""
        if level == "token":
            return torch.ones_like(self.row_T, dtype=torch.bool)
        return self.count("token", level) > 0

    def same(self, x_R: Tensor) -> Tensor:
        """How many rollouts of its group have each rollout's number, itself among them.

        >>> Index.one_group(3).same(torch.tensor([1.0, 0.0, 1.0])).tolist()
        [2, 1, 2]
        """
        alike_RR = (x_R[:, None] == x_R) & (self.group_R[:, None] == self.group_R)
        return alike_RR.sum(1)

    def alike(self, x_R: Tensor, key_R: Tensor) -> Tensor:
        """The mean of x over those of its group that have each rollout's key.

        >>> Index.one_group(3).alike(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([7, 0, 7])).tolist()
        [2.0, 2.0, 2.0]
        """
        alike_RR = (key_R[:, None] == key_R) & (self.group_R[:, None] == self.group_R)
        return alike_RR.to(x_R.dtype) @ x_R / alike_RR.sum(1)

    def behind(self, fine: str, coarse: str) -> Tensor:
        """Of each `fine` unit how many stand behind it in its `coarse` one.

        >>> Index.of([[[2], [1, 3]], [[1]]]).behind("row", "rollout").tolist()
        [0, 1, 0, 0]
        """
        ends_C = self.count(fine, coarse).cumsum(0)
        return self.spread(ends_C, coarse, fine) - 1 - torch.arange(self.size(fine), device=self.row_T.device)

    def last(self) -> Tensor:
        """True at the last decision of each rollout, rows taken in order."""
        rollout_T = self.up("token", "rollout")
        last = torch.ones_like(rollout_T, dtype=torch.bool)
        last[:-1] = rollout_T[1:] != rollout_T[:-1]
        return last

    def select(self, keep_T: Tensor) -> Index:
        """Only these decisions; rows, rollouts and groups keep their numbers, some now hold nothing."""
        return Index(self.row_T[keep_T], self.rollout_W, self.group_R, self.groups)

    def rows(self, rows: Tensor) -> tuple[Index, Tensor]:
        """Only these rows, in this order and renumbered; and the decisions they hold, as positions here.

        Rollouts and groups keep their numbers, so an array over rollouts stays valid.
        """
        per_row = torch.bincount(self.row_T, minlength=self.size("row"))
        starts = torch.cumsum(per_row, 0) - per_row
        counts = per_row[rows]
        row_T = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        offsets = torch.arange(len(row_T), device=rows.device) - torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts)
        return Index(row_T, self.rollout_W[rows], self.group_R, self.groups), starts[rows][row_T] + offsets
