"""A claim's record as one self-contained HTML page: verdict, interval, curves by seed, checks, budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from strop.report.page import STYLE, pairs, section, table

COLOURS = ("#2f6db3", "#c2501f", "#3f8f4f", "#8a5fb0", "#a08020", "#777777")
"""One an arm, in the order of the record; told apart by their labels too."""


def write(record: Mapping[str, Any], target: Path) -> Path:
    target.write_text(render(record), encoding="utf-8")
    return target


def render(record: Mapping[str, Any]) -> str:
    title = f"{record['claim']}: {record['verdict']}"
    first, second = record["compare"]
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(record['says'])}.</p>",
        f"<p class=dim>{escape(record['fingerprint'])} · {escape(record['profile'])} profile · {len(record['seeds'])} seeds · "
        f"{escape(record['budget'])} each · refuted if {escape(record['refuted_if'])}</p>",
        section("Why it is void", table([(why,) for why in record["why_void"]]) if record["why_void"] else ""),
        section(f"Effect: {first} - {second}", effect(record)),
        section("Curves", curves(record)),
        section("At the common budget", values(record)),
        section("Was the mechanism on?", checks(record)),
        section("Spent", budgets(record)),
        section("Arms", arms(record)),
        section(
            "Made with",
            pairs({**record["versions"], "code": ", ".join(record["code"]), "claim": record["fingerprint"], **record["machine"]}),
        ),
    ]
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
    return f"{head}<body>\n" + "\n".join(part for part in body if part) + "\n</body></html>\n"


def number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


WIDE, CURVES_TALL, EFFECT_TALL = 600, 260, 104
ALONE = """
text { fill: #5d6670; font: 10px system-ui, sans-serif; }
.axis { stroke: #d5dae0; }
.seed { fill: #5d6670; }
.mean { fill: #2f6db3; stroke: #2f6db3; }
"""
"""What the page's style says of a drawing, for one that stands alone on white."""


def picture(record: Mapping[str, Any]) -> str:
    """Curves and effect as one SVG file."""
    tall = CURVES_TALL + EFFECT_TALL + 20
    names = "".join(
        f"<text x='{60 + 120 * place}' y='{CURVES_TALL + 8}' style='fill:{colour}'>■ {escape(name)}</text>"
        for place, (name, colour) in enumerate(zip(record["curves"], COLOURS, strict=False))
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDE} {tall}' role='img'><title>{escape(record['claim'])}</title>"
        f"<style>{ALONE}</style><rect width='{WIDE}' height='{tall}' fill='white'/>{_curves(record)}{names}"
        f"<g transform='translate(0,{CURVES_TALL + 20})'>{_effect(record)}</g></svg>\n"
    )


def effect(record: Mapping[str, Any]) -> str:
    """Each seed's difference as a dot, the interval as a bar, the threshold as a line."""
    if record["effect"] is None:
        return "<p class=dim>no seed finished on both arms</p>"
    low, high = record["interval"]
    smallest = record["detectable"]["smallest"]
    said = f"{number(record['effect'])} [{number(low)}, {number(high)}] at {record['level']:.4g}"
    said += f"; smallest margin a pilot says is found four times in five: {number(smallest)}" if smallest is not None else ""
    drawn = f"<svg viewBox='0 0 {WIDE} {EFFECT_TALL}' role='img'>{_effect(record)}</svg>"
    return f"<figure>{drawn}<figcaption>{escape(said)} (small dots: seeds)</figcaption></figure>"


def _effect(record: Mapping[str, Any]) -> str:
    if record["effect"] is None:
        return ""
    low, high = record["interval"]
    limits = [record["threshold"], -record["threshold"]] if record["tie"] else [record["threshold"]]
    inside = [v for v in (low, high) if v is not None and isfinite(v)]
    marks = [*record["differences"], record["effect"], *limits, 0.0, *inside]
    left, right = min(marks), max(marks)
    pad = 0.08 * ((right - left) or 1.0)
    left, right = left - pad, right + pad

    def x(value: float) -> float:
        return 10 + (value - left) / (right - left) * (WIDE - 20)

    dots = "".join(f"<circle class='seed' cx='{x(d):.1f}' cy='34' r='4'/>" for d in record["differences"])
    bar = f"<path class='mean' d='M{x(low):.1f} 58H{x(high):.1f}' stroke-width='3'/>" if len(inside) == 2 else ""
    words = [
        (0.0, "none", "0", 82),
        *((limit, "4 3", f"{'tie within' if record['tie'] else 'threshold'} {limit:g}", 12) for limit in limits),
    ]
    lines = "".join(
        f"<path class='axis' d='M{x(v):.1f} 16V70' stroke-dasharray='{dash}'/>"
        f"<text x='{x(v):.1f}' y='{y}' text-anchor='middle'>{said}</text>"
        for v, dash, said, y in words
    )
    first, second = record["compare"]
    said = f"{first} - {second}: {record['effect']:+.3g}" + (f" [{low:+.3g}, {high:+.3g}]" if len(inside) == 2 else "")
    name = f"<text x='{WIDE - 10}' y='{EFFECT_TALL - 6}' text-anchor='end'>{escape(said)}</text>"
    return f"{lines}{dots}{bar}<circle class='mean' cx='{x(record['effect']):.1f}' cy='58' r='5'/>{name}"


def curves(record: Mapping[str, Any]) -> str:
    """All seeds of all arms in one box: colour is the arm, each line a seed."""
    drawn = _curves(record)
    if not drawn:
        return ""
    legend = " ".join(
        f"<span style='color:{COLOURS[place % len(COLOURS)]}'>■ {escape(name)}</span>" for place, name in enumerate(record["curves"])
    )
    what = ", ".join(f"{name} {value}" for name, value in record["measure"]["with"].items())
    return (
        f"<figure><svg viewBox='0 0 {WIDE} {CURVES_TALL}' role='img'>{drawn}</svg>"
        f"<figcaption>{legend} <span class=dim>{escape(record['measure']['part'])} {escape(what)}</span></figcaption></figure>"
    )


def _curves(record: Mapping[str, Any]) -> str:
    lines = [(place, points) for place, by_seed in enumerate(record["curves"].values()) for points in by_seed.values() if points]
    if not lines:
        return ""
    xs, ys = [p[0] for _, points in lines for p in points], [p[1] for _, points in lines for p in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    wide, tall = (right - left) or 1.0, (high - low) or 1.0

    def at(x: float, y: float) -> str:
        return f"{54 + (x - left) / wide * (WIDE - 70):.1f},{10 + (high - y) / tall * (CURVES_TALL - 40):.1f}"

    drawn = "".join(
        f"<polyline fill='none' stroke='{COLOURS[place % len(COLOURS)]}' stroke-width='1.3' stroke-opacity='.75' "
        f"points='{' '.join(at(x, y) for x, y in points)}'/>"
        for place, points in lines
    )
    floor = CURVES_TALL - 28
    return (
        f"<path class='axis' d='M54 6V{floor}H{WIDE - 10}' fill='none'/>"
        f"<text x='2' y='16'>{high:.3g}</text><text x='2' y='{floor}'>{low:.3g}</text><text x='54' y='{floor + 18}'>{left:,.0f}</text>"
        f"<text x='{WIDE - 10}' y='{floor + 18}' text-anchor='end'>{right:,.0f} spent</text>{drawn}"
    )


def values(record: Mapping[str, Any]) -> str:
    seeds = record["seeds"]
    rows = [(name, *(number(by_seed.get(str(s), by_seed.get(s))) for s in seeds)) for name, by_seed in record["values"].items()]
    return table(rows, ("arm", *(f"seed {s}" for s in seeds)))


def checks(record: Mapping[str, Any]) -> str:
    rows = [(c["says"], c["arm"], f"at least {c['least']:g}", ", ".join(number(v) for v in c["values"].values())) for c in record["checks"]]
    return table(rows, ("check", "arm", "needs", "by seed"))


def budgets(record: Mapping[str, Any]) -> str:
    kinds: Sequence[str] = sorted({kind for said in record["budgets"].values() for kind, spent in said.items() if spent})
    rows = [(name, *(f"{said.get(kind, 0):,.0f}" for kind in kinds)) for name, said in record["budgets"].items()]
    return table(rows, ("arm", *kinds)) + "<p class=dim>means per run; positions include what was discarded</p>"


def arms(record: Mapping[str, Any]) -> str:
    rows = [
        (name, arm["method"], arm["fingerprint"], arm["control"] or "the method on trial", "not run" if name in record["left_out"] else "")
        for name, arm in record["arms"].items()
    ]
    return table(rows, ("arm", "method", "fingerprint", "controls for", ""))
