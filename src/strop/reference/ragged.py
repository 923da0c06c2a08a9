"""Index in one table, with a picture of a ragged batch. The picture's numbers, and the table's, are an Index's own."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from strop.reference.source import tree
from strop.seams.index import Index

SIZES = [[[3], [2, 4]], [[1], [5], [2]]]
"""Groups of rollouts of rows of decisions."""

SHOWN: dict[str, Callable[[Index, Tensor, Tensor], Any]] = {
    "row_T": lambda index, x_R, x_G: index.row_T,
    "rollout_W": lambda index, x_R, x_G: index.rollout_W,
    "group_R": lambda index, x_R, x_G: index.group_R,
    "groups": lambda index, x_R, x_G: index.groups,
    "of": lambda index, x_R, x_G: Index.of([[[3], [2, 4]], [[1], [5], [2]]]),
    "one_group": lambda index, x_R, x_G: Index.one_group(4),
    "size": lambda index, x_R, x_G: index.size("rollout"),
    "up": lambda index, x_R, x_G: index.up("row", "group"),
    "sum": lambda index, x_R, x_G: index.sum(x_R, "rollout", "group"),
    "count": lambda index, x_R, x_G: index.count("token", "rollout"),
    "mean": lambda index, x_R, x_G: index.mean(x_R, "rollout", "group"),
    "max": lambda index, x_R, x_G: index.max(x_R, "rollout", "group"),
    "spread": lambda index, x_R, x_G: index.spread(x_G, "group", "rollout"),
    "active": lambda index, x_R, x_G: index.select(~index.last()).active("rollout"),
    "same": lambda index, x_R, x_G: index.same(x_R),
    "alike": lambda index, x_R, x_G: index.alike(index.behind("rollout", "group") * 1.0, x_R),
    "behind": lambda index, x_R, x_G: index.behind("row", "rollout"),
    "last": lambda index, x_R, x_G: index.last(),
    "select": lambda index, x_R, x_G: index.select(index.last()).row_T,
    "rows": lambda index, x_R, x_G: index.rows(torch.tensor([4, 0]))[1],
}
"""A use of each member on the picture's batch."""


def shown() -> dict[str, tuple[str, str]]:
    """Each use as it is written, and what it gives; nothing where that is a batch again."""
    written = next(node.value for node in tree(__name__).body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SHOWN")
    uses = {name.value: ast.unparse(use.body) for name, use in zip(written.keys, written.values, strict=True)}  # type: ignore
    x_R, x_G = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]), torch.tensor([0.5, 0.25])
    given = {name: use(Index.of(SIZES), x_R, x_G) for name, use in SHOWN.items()}
    return {name: (uses[name].replace("'", '"'), "" if isinstance(value, Index) else _written(value)) for name, value in given.items()}


def _written(value: Any) -> str:
    values = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(values, list) and values and isinstance(values[0], bool):
        return " ".join("1" if v else "0" for v in values)
    return " ".join(f"{v:g}" for v in values) if isinstance(values, list) else str(values)


CELL, ROW, GAP, LEFT = 26, 34, 14, 150
STYLE = """<style>
text { font: 13px ui-monospace, monospace; fill: #1f2328 } .dim { fill: #656d76 } .g { fill: none; stroke: #656d76; stroke-width: 1.5 }
.r { fill: #eaeef2; stroke: #8c959f } .p { fill: none; stroke: #8c959f; stroke-dasharray: 3 3 } .t { fill: #bbdfff; stroke: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .dim { fill: #9198a1 } .g { stroke: #9198a1 } .r { fill: #21262d; stroke: #6e7681 }
.p { stroke: #6e7681 } .t { fill: #0c2d6b; stroke: #58a6ff } }
</style>"""


def picture() -> str:
    """Groups, rollouts, rows and decisions of the batch, each with its number. A prompt is dashed, for it is no decision."""
    index = Index.of(SIZES)
    row_T, rollout_W, group_R = index.row_T.tolist(), index.rollout_W.tolist(), index.group_R.tolist()
    drawn: list[str] = []
    top, token = 34, 0
    for g in range(index.groups):
        began_g = top
        top += 8
        for r in (r for r, of in enumerate(group_R) if of == g):
            rows = [w for w, of in enumerate(rollout_W) if of == r]
            height = ROW * len(rows) + 4
            drawn.append(f'<rect class="r" x="58" y="{top}" width="{LEFT + 7 * CELL}" height="{height}" rx="5"/>')
            drawn.append(f'<text x="68" y="{top + 22}">R{r}</text>')
            for w in rows:
                y = top + 5
                drawn.append(f'<text x="104" y="{y + 17}">W{w}</text><rect class="p" x="136" y="{y}" width="64" height="{CELL}" rx="3"/>')
                drawn.append(f'<text class="dim" x="144" y="{y + 17}">prompt</text>')
                for at in range(row_T.count(w)):
                    x = 206 + at * CELL
                    drawn.append(f'<rect class="t" x="{x}" y="{y}" width="{CELL - 2}" height="{CELL}" rx="3"/>')
                    drawn.append(f'<text x="{x + 12}" y="{y + 17}" text-anchor="middle">{token}</text>')
                    token += 1
                top += ROW
            top += 10
        drawn.insert(0, f'<rect class="g" x="20" y="{began_g}" width="{LEFT + 7 * CELL + 46}" height="{top - began_g}" rx="7"/>')
        drawn.append(f'<text x="30" y="{began_g + 30}">G{g}</text>')
        top += GAP
    width = LEFT + 7 * CELL + 90
    head = "".join(
        f'<text class="dim" x="{x}" y="22">{said}</text>'
        for x, said in ((24, "_G"), (66, "_R"), (102, "_W"), (206, "_T, one per decision"))
    )
    title = f"{index.size('token')} decisions in {index.size('row')} rows of {index.size('rollout')} rollouts in {index.groups} groups"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}" role="img">'
        f"<title>{title}</title>{STYLE}{head}{''.join(drawn)}</svg>\n"
    )
