"""The worlds of `strop.check`, as a strategy: hypothesis shrinks them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from strop.check.worlds import ONE_ROW, SHAPES, Bigram, Leaves, World, as_dtype, as_pairs, random_world, world_of

__all__ = ["ONE_ROW", "SHAPES", "Bigram", "Leaves", "World", "as_dtype", "as_pairs", "random_world", "world_of", "worlds"]

torch.set_num_threads(1)  # these tensors are tiny: a second thread only waits


@st.composite
def worlds(draw: st.DrawFn, shapes: tuple[str, ...] = SHAPES) -> World:
    seed = draw(st.integers(0, 2**20))
    return world_of(seed, draw(st.lists(st.lists(st.sampled_from(shapes), min_size=1, max_size=4), min_size=1, max_size=4)))
