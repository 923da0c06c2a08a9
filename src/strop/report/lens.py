"""The microscope's page: shares of the gradient, and rollouts whose tokens are coloured by their weight, methods side by side.

One file that refers to nothing outside itself; what a model wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from strop.records import Rollout
from strop.report.page import STYLE, pre, section, table

if TYPE_CHECKING:
    from strop.lab.microscope import Reading, Sight

SHOWN = 3
"""Groups of rollouts on the page: those whose lengths differ most."""

LOOK = """
body { max-width: 84rem; }
table.side { width: 100%; table-layout: fixed; }
table.side td { padding-right: 1.2rem; }
.tokens { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.7 ui-monospace, monospace; }
.tokens span { border-radius: 2px; }
.up { background: rgba(47, 109, 179, var(--a)); }
.down { background: rgba(224, 112, 40, var(--a)); }
.scale span { display: inline-block; width: 2.2rem; height: .9rem; }
"""


def render(sight: Sight, decode: Callable[[int], str], about: Mapping[str, Any]) -> str:
    """`decode` gives the text of one token; `about` says of which run and with which weights."""
    names = [r.method.name for r in sight.readings]
    title = f"{' and '.join(names)} on step {sight.step} of {about['run']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=dim>{escape(str(about['weights']))} · {len(sight.batch.units)} rollouts, {sight.batch.index.size('token')} decisions · "
        "the whole batch as one minibatch, at the point of its first update</p>",
        section(
            "Gradients", table(norms(sight), ("method", "loss", "norm", "weight per credit ~ length ^", *(f"cosine to {n}" for n in names)))
        ),
        section("Shares of the gradient", shares(sight)),
        section("Weights", legend(sight) + "".join(group(sight, number, decode) for number in widest(sight))),
    ]
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{head}<title>{escape(title)}</title><style>{STYLE}{LOOK}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"


def norms(sight: Sight) -> list[list[str]]:
    return [
        [r.method.name, short(r.loss), short(r.norm), short(sight.exponent(r)), *(short(c) for c in sight.cosine[i])]
        for i, r in enumerate(sight.readings)
    ]


def shares(sight: Sight) -> str:
    """One table per bucketing: what part of each method's gradient its buckets make, and how long theirs are."""
    said = sight.to_json()["buckets"]
    head = ["", "decisions"] + [f"{r.method.name}: {what}" for r in sight.readings for what in ("share", "norm", "weight per credit")]
    made: list[str] = []
    for kind in dict.fromkeys(bucket["kind"] for bucket in said):
        rows = [
            [b["bucket"], b["decisions"]]
            + [short(b["methods"][r.method.name][what]) for r in sight.readings for what in ("share", "norm", "weight_per_credit")]
            for b in said
            if b["kind"] == kind
        ]
        made.append(f"<h3>by {escape(kind)}</h3>{table(rows, head)}")
    note = "share = projection of the bucket's gradient on the whole over its squared norm; shares of one table sum to 1"
    return "".join(made) + f"<p class=dim>{note}, and a bucket that pulls against the rest is negative</p>"


def legend(sight: Sight) -> str:
    def strip(word: str) -> str:
        return "".join(f"<span class={word} style='--a:{a}'></span>" for a in (0.15, 0.3, 0.45, 0.6, 0.75))

    scales = ", ".join(f"{r.method.name} {short(scale(r))}" for r in sight.readings)
    return (
        f"<p class=scale>{strip('up')} made likelier &nbsp; {strip('down')} made less likely &nbsp; <span class=dim></span></p>"
        f"<p class=dim>Colour: -d loss / d log-probability of the token. Full colour at: {escape(scales)}, each method's own 95th "
        "percentile, so that methods are compared in how they spread their weight and not in how much they have. Grey text is context.</p>"
    )


def scale(reading: Reading) -> float:
    """The weight that gets full colour."""
    used_T = reading.weight_T[reading.weight_T != 0].abs()
    return used_T.quantile(0.95).item() if len(used_T) else 1.0


def widest(sight: Sight) -> list[int]:
    """Groups that some method trains, those whose rollouts differ most in length first."""
    group_T = sight.batch.index.up("token", "group")
    pushed = {g for r in sight.readings for g in group_T[r.weight_T != 0].tolist()}

    def gap(number: int) -> int:
        lengths = [r.length for r in sight.groups[number].rollouts]
        return max(lengths) - min(lengths)

    return sorted(sorted(pushed), key=gap, reverse=True)[:SHOWN]


def group(sight: Sight, number: int, decode: Callable[[int], str]) -> str:
    one = sight.groups[number]
    head = "<tr><th></th>" + "".join(f"<th>{escape(r.method.name)}</th>" for r in sight.readings) + "</tr>"
    rows = "".join(row(sight, rollout, decode) for rollout in sorted(one.rollouts, key=lambda r: r.length))
    columns = "<colgroup><col style='width:9rem'></colgroup>"
    return f"{pre(one.task.prompt)}<table class=side>{columns}{head}{rows}</table>"


def row(sight: Sight, rollout: Rollout, decode: Callable[[int], str]) -> str:
    at_T = (sight.batch.index.up("token", "rollout") == sight.batch.units.index(rollout.id)).nonzero()[:, 0]
    outcome = sight.scores.get(rollout, "outcome")
    cells = [f"<td class=dim>{rollout.length} tokens<br>outcome {'-' if outcome is None else f'{outcome:g}'}</td>"]
    for reading in sight.readings:
        weights, full = reading.weight_T[at_T].tolist(), scale(reading)
        credit = reading.credit_T[at_T]
        mean = short(sum(abs(w) for w in weights) / len(weights)) if weights else "-"
        top = f"<div class=dim>credit {short(credit.mean().item() if len(credit) else None)}, {mean} a token</div>"
        cells.append(f"<td>{top}<div class=tokens>{tokens(rollout, weights, full, decode)}</div></td>")
    return f"<tr>{''.join(cells)}</tr>"


def tokens(rollout: Rollout, weights: list[float], full: float, decode: Callable[[int], str]) -> str:
    """Decisions coloured by what the loss asks of them; the text between them in grey, the prompt left out."""
    made: list[str] = []
    place = 0
    for segment in (s for r in rollout.rows for s in r.segments if s.kind != "prompt"):
        if segment.kind == "observation":
            made.append(f"<span class=dim>{escape(''.join(decode(t) for t in segment.tokens))}</span>")
            continue
        for token in segment.tokens:
            weight = weights[place]
            alpha = min(abs(weight) / full, 1.0) * 0.75
            word = "up" if weight < 0 else "down"
            made.append(f"<span class={word} style='--a:{alpha:.2f}' title='{-weight:.3g}'>{escape(decode(token))}</span>")
            place += 1
    return "".join(made)


def short(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:.3g}" if abs(value) > 5e-7 else "0"
