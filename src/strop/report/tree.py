"""A group whose rollouts share segments, drawn as the tree it is: where it forks, what each branch earned, which were stopped early.

A segment is a box, as long as its tokens are many; its colour is the credit of its tokens, averaged over the leaves that train it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from strop.report.tokens import plain

WIDE, LEFT, RIGHT, GAP, TALL, LETTER = 1000.0, 4.0, 150.0, 22.0, 26.0, 6.7
"""Of the drawing: its width, its margins, the room for forks between two depths, the height of a leaf, the width of a letter."""
EARLY = {"repetition": "repeats itself", "length": "cut at the limit"}
"""Stops that a leaf did not choose."""

Decode = Callable[[Sequence[int]], str]
Credits = Mapping[tuple[str, str], float]
"""{(rollout, segment): mean credit of its decisions}"""

STYLE = """
.tree svg { overflow: visible; }
.tree svg text { font: 11px ui-monospace, monospace; fill: var(--ink); white-space: pre; }
.tree svg text.said { fill: var(--dim); font: 11px system-ui, sans-serif; }
.tree svg text.right { fill: var(--ink); font-weight: 600; }
.tree .edge { fill: none; stroke: var(--dim); stroke-opacity: .55; }
.tree .fork { fill: var(--dim); }
.tree .seg rect { fill: var(--soft); stroke: var(--line); }
.tree .seg rect.up { fill: #2f6db3; stroke: none; }
.tree .seg rect.down { fill: #e07028; stroke: none; }
.tree .seg:hover rect { stroke: var(--ink); }
.tree .early { stroke: var(--hot); stroke-width: 3; }
.tree svg text.why { fill: var(--hot); }
.scale span { display: inline-block; width: 2.2rem; height: .9rem; vertical-align: middle; }
.scale .up { background: rgba(47, 109, 179, var(--a)); }
.scale .down { background: rgba(224, 112, 40, var(--a)); }
"""


@dataclass
class Branch:
    """One segment with what grew from it."""

    id: str
    tokens: list[int]
    start: int = 0
    """Tokens written before it."""
    depth: int = 0
    after: dict[str, Branch] = field(default_factory=dict["str", "Branch"])
    ends: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Rollouts that end with it."""
    y: float = 0.0

    def leaves(self) -> list[dict[str, Any]]:
        return [*self.ends, *(leaf for branch in self.after.values() for leaf in branch.leaves())]

    def all(self) -> list[Branch]:
        return [self, *(one for branch in self.after.values() for one in branch.all())]


def is_tree(group: Mapping[str, Any]) -> bool:
    """Two rollouts train one segment."""
    seen = [s["id"] for r in group["rollouts"] for row in r["rows"] for s in row["segments"] if s["kind"] == "action"]
    return len(set(seen)) < len(seen)


def grown(group: Mapping[str, Any]) -> Branch:
    """The prompt, with every rollout's segments under it."""
    root = Branch("", [])
    for rollout in group["rollouts"]:
        here, start = root, 0
        for segment in (s for s in rollout["rows"][0]["segments"] if s["kind"] != "prompt"):
            here = here.after.setdefault(segment["id"], Branch(segment["id"], segment["tokens"], start, here.depth + 1))
            start += len(segment["tokens"])
        here.ends.append(rollout)
    return root


def credits(about: Mapping[str, Any], record: Mapping[str, Any]) -> Credits:
    """What the run's method gives for the committed groups; empty where it needs more than they hold (a reference, a head, progress) or
    where they train several policies."""
    from strop import saved
    from strop.batch import pack
    from strop.learning import settle
    from strop.records import Fate, Group, Scores

    method = saved.load(about["method"])
    if method.reference or method.heads or method.trained or method.needs("fraction"):
        return {}
    groups = [Group.from_json(g) for g in record["groups"]]
    fates = {unit: Fate(*fate) for unit, fate in record["fates"].items()}
    batch = pack(groups, fates, record["rewards"], record["version"], Scores.from_json(record["scores"]))
    batch = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]), 0.0)
    members, found, at = {r.id: r for g in groups for r in g.rollouts}, dict[tuple[str, str], float](), 0
    for unit in batch.units:
        for segment in (s for row in members[unit].rows for s in row.segments if s.kind in ("action", "forced", "teacher")):
            credit_T = batch.tracks["credit_T"][at : at + len(segment.tokens)]
            at += len(segment.tokens)
            if len(credit_T) and fates[unit].kind == "keep":
                found[unit, segment.id] = credit_T.mean().item()
    return found


def decoder(directory: Path) -> Decode:
    """Tokens to text by the tokenizer that the run's last checkpoint keeps; without one, their number."""
    from tokenizers import Tokenizer

    kept = sorted(directory.glob("checkpoints/*/tokenizer.json"))
    if not kept:
        return lambda tokens: f"{len(tokens)} tokens"
    tokenizer = Tokenizer.from_file(str(kept[-1]))
    return lambda tokens: tokenizer.decode(list(tokens), skip_special_tokens=False)


def draw(group: Mapping[str, Any], rewards: Mapping[str, float | None], fates: Mapping[str, Any], credit: Credits, decode: Decode) -> str:
    root = grown(group)
    branches = root.all()[1:]
    leaves = root.leaves()
    for row, leaf in enumerate(leaves):
        leaf["y"] = (row + 0.5) * TALL
    _settle(root)
    deepest, longest = max(b.depth for b in branches), max(b.start + len(b.tokens) for b in branches)
    unit = (WIDE - LEFT - RIGHT - GAP * deepest) / longest
    earned = {b.id: [credit[leaf["id"], b.id] for leaf in b.leaves() if (leaf["id"], b.id) in credit] for b in branches}
    mean = {name: sum(values) / len(values) for name, values in earned.items() if values}
    full = max((abs(value) for value in mean.values()), default=0.0) or 1.0

    def left(branch: Branch) -> float:
        return LEFT + GAP * branch.depth + branch.start * unit

    made: list[str] = []
    for parent in [root, *branches]:
        x = left(parent) + len(parent.tokens) * unit if parent.id else LEFT
        made += [_edge(x, parent.y, left(branch), branch.y) for branch in parent.after.values()]
        if len(parent.after) > 1:
            made.append(f"<circle class=fork cx='{x:.1f}' cy='{parent.y:.1f}' r='3'/>")
    for branch in branches:
        made.append(_box(branch, left(branch), len(branch.tokens) * unit, mean.get(branch.id), full, decode))
        made += [_end(leaf, rewards, fates, left(branch) + len(branch.tokens) * unit) for leaf in branch.ends]
    decoded = sum(len(b.tokens) for b in branches)
    whole = sum(len(b.tokens) * len(b.leaves()) for b in branches)
    forks = sum(len(b.after) > 1 for b in [root, *branches])
    said = f"{len(leaves)} leaves, {forks} forks; {decoded} positions decoded for {whole} in all leaves, {1 - decoded / whole:.0%} saved"
    drawing = f"<svg viewBox='0 0 {WIDE:g} {len(leaves) * TALL:g}' role='img'>{''.join(made)}</svg>"
    return f"<figure class=tree><figcaption>{said}</figcaption>{drawing}</figure>"


def _edge(x: float, y: float, to_x: float, to_y: float) -> str:
    return f"<path class=edge d='M{x:.1f} {y:.1f}C{x + GAP:.1f} {y:.1f} {x:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}'/>"


def _settle(branch: Branch) -> float:
    """In the middle of what grew from it."""
    ys = [leaf["y"] for leaf in branch.ends] + [_settle(after) for after in branch.after.values()]
    branch.y = (min(ys) + max(ys)) / 2
    return branch.y


def _box(branch: Branch, x: float, width: float, credit: float | None, full: float, decode: Decode) -> str:
    text, leaves = plain(decode(branch.tokens)), len(branch.leaves())
    earned = "not trained" if credit is None else f"credit {credit:+.3g}"
    title = f"{text}\n{len(branch.tokens)} tokens, {leaves} {'leaf' if leaves == 1 else 'leaves'}, {earned}"
    word = "flat" if credit is None else "up" if credit > 0 else "down"
    alpha = 1.0 if credit is None else 0.08 + 0.6 * min(abs(credit) / full, 1.0)
    fits = int((width - 6) / LETTER)
    shown = text if len(text) <= fits else text[: max(fits - 1, 0)] + "…"
    top = branch.y - TALL / 2 + 3
    place = f"x='{x:.1f}' y='{top:.1f}' width='{width:.1f}' height='{TALL - 6:g}' rx='3' fill-opacity='{alpha:.2f}'"
    return (
        f"<g class=seg><title>{escape(title)}</title><rect class={word} {place}/>"
        f"<text x='{x + 4:.1f}' y='{branch.y + 4:.1f}'>{escape(shown)}</text></g>"
    )


def _end(leaf: Mapping[str, Any], rewards: Mapping[str, float | None], fates: Mapping[str, Any], x: float) -> str:
    """What a leaf got, and whether it was stopped."""
    reward, y = rewards.get(leaf["id"]), leaf["y"]
    got = "-" if reward is None else f"{reward:g}"
    best = reward is not None and reward == max(value for value in rewards.values() if value is not None)
    made = f"<text class='{'right' if best else 'said'}' x='{x + 10:.1f}' y='{y + 4:.1f}'>{got}</text>"
    why = EARLY.get(leaf["stop"], "")
    if why:
        made = f"<path class=early d='M{x + 3:.1f} {y - 10:.1f}V{y + 10:.1f}'/>" + made
    kind, _, reason = fates.get(leaf["id"], ("keep", 1.0, ""))
    notes = ", ".join(filter(None, (why, reason if kind != "keep" else "")))
    return made + (f"<text class='said why' x='{x + 30:.1f}' y='{y + 4:.1f}'>{escape(notes)}</text>" if notes else "")


LEGEND = (
    "<p class=scale>"
    + "".join(f"<span class=up style='--a:{a}'></span>" for a in (0.6, 0.35, 0.15))
    + " better than those it is judged against &nbsp; "
    + "".join(f"<span class=down style='--a:{a}'></span>" for a in (0.15, 0.35, 0.6))
    + " worse</p><p class=dim>A box is a segment, written once; its colour the mean credit of the leaves that train it, its text under the "
    "pointer. A dot is a fork, a bar the end of a leaf that was stopped early, the number its reward.</p>"
)
