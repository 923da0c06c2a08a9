"""Coverage: which held-out questions a training set can teach at all, before anything is trained (arXiv:2505.20278).

What equivalent fragments are and how far they lead stands in `strop/fragments.py`. Frequency is the honest rival: what is seen often is
both better covered and better learned, so how well k tells right answers from wrong ones is told beside how well counts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strop.fragments import UPTO, Pair, Places, alike, largest, numbered, often


@dataclass(frozen=True)
class Finding:
    """What a training set covers of what is asked, one number a question."""

    examples: int
    """Different questions in training."""
    tokens: int
    """Different tokens in all questions."""
    k: tuple[int, ...]
    """The largest k at which each question is covered; 0: at none."""
    often: tuple[int, ...]
    """How often its fragments occur in training, of all kinds together."""
    right: tuple[bool, ...] | None = None
    """Whether each was answered rightly, where a policy was asked."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each k that occurs: the share that is covered at it, and how many are covered at it and at no larger one, with their
        accuracy."""
        best = np.asarray(self.k)
        right = None if self.right is None else np.asarray(self.right)
        return [
            {
                "k": k,
                "covered": float((best >= k).mean()) if k else None,
                "questions": int(own.sum()),
                "right": float(right[own].mean()) if right is not None and own.any() else None,
            }
            for k in range(max(self.k, default=0) + 1)
            for own in [best == k]
        ]

    @property
    def predicts(self) -> dict[str, float] | None:
        """How well k, and how well frequency, tell right answers from wrong ones; None where there are not both."""
        if self.right is None or len({*self.right}) < 2:
            return None
        return {"k": auroc(self.k, self.right), "frequency": auroc(self.often, self.right)}

    def to_json(self) -> dict[str, Any]:
        return {
            "examples": self.examples,
            "asked": len(self.k),
            "tokens": self.tokens,
            "rows": self.rows,
            "auroc": self.predicts,
            "k": list(self.k),
            "often": list(self.often),
            "right": None if self.right is None else list(self.right),
        }


def study(
    train: Sequence[Pair],
    asked: Sequence[Pair],
    *,
    upto: int = UPTO,
    kinds: Sequence[Places] = (),
    key: str = "places",
    labels: bool = False,
    right: Sequence[bool] | None = None,
) -> Finding:
    """Coverage of questions by examples; `kinds` looks at these places alone, `key` and `labels` are the released forms."""
    seen, wanted, answers, tokens = numbered(train, asked)
    if wrong := [places for places in kinds if places not in seen.kinds]:
        raise ValueError(f"places {wrong[0]}: an input has {seen.inputs.shape[1]}, numbered from 0; name some of them, not all, in order")
    found = [alike(seen, places) for places in kinds or seen.kinds]
    best = largest(seen, wanted, upto, found=found, key=key, labels=answers if labels else None)
    times = sum((often(seen, wanted, one.places) for one in found), np.zeros(len(wanted), np.int64))
    return Finding(len(seen.inputs), tokens, tuple(best.tolist()), tuple(times.tolist()), None if right is None else tuple(right))


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """How often one that is labelled scores higher than one that is not; a tie counts half.

    >>> auroc([0.4, 0.1, 0.3, 0.3], [True, False, True, False])
    0.875
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    yes, no = np.sort(score[label]), score[~label]
    if not len(yes) or not len(no):
        raise ValueError(f"auroc compares what is labelled with what is not, and {len(yes)} of {len(score)} are labelled")
    above = len(yes) - np.searchsorted(yes, no, side="right")
    return float((above + (np.searchsorted(yes, no, side="right") - np.searchsorted(yes, no, side="left")) / 2).mean() / len(yes))
