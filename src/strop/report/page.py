"""A run as one HTML file: curves, before and after, rollouts to read, the recipe, the bill.

The file refers to nothing outside itself. Whatever a model or a grader wrote is escaped: it is text and never markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from strop import swarm
from strop.directory import RunError, read_about, read_commit, read_metrics, read_result
from strop.report import curve, reminded, staleness, tokens, tree

CURVES = (
    ("reward", "mean reward of a step's rollouts"),
    ("outcome", "share right, strict parse"),
    ("lenient", "share right, lenient parse"),
    ("length", "tokens a rollout"),
    ("entropy", "nats a decision"),
    ("spread", "share of groups whose rewards differ"),
    ("grad_norm", "before clipping"),
    ("pairs.margin", "nats by which the better text's log-ratio lies above the other's"),
    ("pairs.preferred", "share of pairs with a margin above 0"),
    ("mismatch", "largest gap of sampled and trained log-probability"),
    ("sampler.kl", "nats a decision from whoever drew to the learner"),
    ("age.mean", "versions since the oldest decision of a group"),
)
"""A name on the metrics lines, dots for what is inside, and what it says."""
LONGEST = 6000
"""Characters of one text that the page shows."""
ROWS = 12
"""Of one rollout, those that it shows."""
MANY = 20
"""Incidents that the page lists."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --dim: #5d6670; --line: #d5dae0; --soft: #f4f6f8; --paper: #ffffff; --mark: #2f6db3; --hot: #c2501f;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --dim: #98a2ad; --line: #3a424b; --soft: #1e2328; --paper: #15181c; --mark: #6fa8e6; --hot: #f0915f; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; }
.dim { color: var(--dim); }
pre { background: var(--soft); padding: .6rem .8rem; border-radius: 4px; margin: .3rem 0 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font: 10px system-ui, sans-serif; }
svg .axis { stroke: var(--line); }
svg .curve { stroke: var(--mark); fill: none; stroke-width: 1.5; }
svg .held { fill: var(--hot); }
svg .seed { fill: var(--dim); }
svg .mean { fill: var(--mark); stroke: var(--mark); }
"""


def write(directory: Path, target: Path) -> Path:
    target.write_text(render(directory), encoding="utf-8")
    return target


def render(directory: Path) -> str:
    """The page of a run, finished or not."""
    title, body = content(directory)
    return document(title, body)


def document(title: str, body: str, script: str = "") -> str:
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{escape(title)}</title><style>{STYLE}{tokens.STYLE}{tree.STYLE}</style></head>"
    return f"{head}<body>\n{body}\n{script}</body></html>\n"


def content(directory: Path) -> tuple[str, str]:
    """What a run's page says: its title, and its sections as HTML."""
    about, lines, result = read_about(directory), read_metrics(directory), read_result(directory)
    resolved, marks = about["resolved"], about["fingerprint"]
    title = f"{resolved['method']} on {resolved['task']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=dim>{escape(directory.name)} · method {escape(marks['method'])} · "
        f"recipe {escape(marks['recipe'])} · {len(lines)} of {resolved['steps']} steps</p>",
        section("Held out", before_after(result)),
        section("Curves", curves(lines, result)),
        section("Tripwires", tripwires(about, lines)),
        section("Tools", of_tools(lines)),
        section("Memory", of_memory(directory, lines)),
        section("First batch", tokens.html(tokens.read(directory))),
        section("Sampled ahead", ahead(lines)),
        section("Swarm", others(lines)),
        section("Rollouts to read", samples(directory, len(lines))),
        section("Trees", trees(directory, about, len(lines))),
        section("Incidents", incidents(directory, lines)),
        section("Bill", pairs(lines[-1].get("bill", {}) if lines else {}, "positions computed in training, evaluation left out")),
        section("Recipe", pairs(about["recipe"]) + "<h3>Parts</h3>" + pre(json.dumps(resolved["parts"], indent=1))),
        section("Made with", pairs({**about["versions"], "threads": about["threads"], "engine grade": about["grade"]})),
    ]
    return title, "\n".join(body)


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def pre(text: str) -> str:
    cut = f"\n… {len(text) - LONGEST} more characters" if len(text) > LONGEST else ""
    return f"<pre>{escape(text[:LONGEST] + cut)}</pre>"


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    top = "<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>" if head else ""
    body = ("<tr>" + "".join(f"<td class=n>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table>{top}{''.join(body)}</table>"


def pairs(values: dict[str, Any], note: str = "") -> str:
    body = table((k, v if isinstance(v, str) else json.dumps(v)) for k, v in values.items()) if values else ""
    return (f"<p class=dim>{escape(note)}</p>" if note and body else "") + body


def before_after(result: dict[str, Any]) -> str:
    sides = [result.get("before") or {}, result.get("after") or {}]
    if not any(sides):
        return "<p class=dim>not evaluated</p>"
    names = [k for k in sides[-1] or sides[0] if k.startswith("pass@")] + ["greedy", "majority", "mean", "lenient", "length", "cut"]
    alone = [name for name in ("likelier", "margin", "nats a token") if name in (sides[-1] or sides[0])]
    names = alone or names
    rows = [(name, *(_ranged(side, name) for side in sides)) for name in names]
    more = ""
    if tried := result.get("base_at_temperature"):
        more = "<p>The base alone, pass@1 by temperature: " + ", ".join(f"{escape(t)}: {_short(v)}" for t, v in tried.items()) + "</p>"
    return table(rows, ("", "before", "after")) + "<p class=dim>95% bootstrap intervals over tasks</p>" + more


def _ranged(side: dict[str, Any], name: str) -> str:
    found = side.get("interval", {}).get(name)
    return _short(side.get(name)) + (f" [{_short(found[0])}, {_short(found[1])}]" if found else "")


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def curves(lines: list[dict[str, Any]], result: dict[str, Any]) -> str:
    made, stages = [], [line.get("stage") for line in lines]
    bounds = [at + 0.5 for at, (before, now) in enumerate(pairwise(stages), start=1) if before != now]
    for name, about in (*CURVES, *label_curves(lines), *role_curves(lines), *policy_curves(lines)):
        points = [(line["step"] + 1, float(value)) for line in lines if (value := inside(line, name)) is not None]
        if not points:
            continue
        marks = []
        if name in ("outcome", curve.verdict(lines)):
            at = {"before": 0, "after": points[-1][0]}
            marks = [(at[k], side["pass@1"]) for k in at if (side := result.get(k)) and side.get("pass@1") is not None]
        caption = f"<figcaption>{escape(name)} <span class=dim>{escape(about)}</span></figcaption>"
        made.append(f"<figure>{caption}{svg(points, marks, bounds)}</figure>")
    if not made:
        return "<p class=dim>no steps yet</p>"
    return f"<div class=curves>{''.join(made)}</div><p class=dim>Dots: held-out pass@1 before and after.</p>"


def label_curves(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """A curve for each label that a mark gave."""
    seen = {(name, int(value)) for line in lines for name, shares in line.get("labels", {}).items() for value in shares}
    for name, value in sorted(seen):
        yield f"labels.{name}.{value}", "share of replies with this label" if value >= 0 else "share of replies that have none"


def role_curves(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What rollouts of other roles than solving earned, and how many of them there were."""
    for role in dict.fromkeys(role for line in lines for role in line.get("roles", {})):
        yield f"roles.{role}.reward", "mean reward of this role's rollouts"
        yield f"roles.{role}.rollouts", "rollouts of this role"


def policy_curves(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Of the policies that are trained beside the actor, what the actor's first curves say of it."""
    for name in dict.fromkeys(name for line in lines for name in line.get("policies", {})):
        yield f"policies.{name}.reward", "mean reward of the rollouts that train it"
        yield f"policies.{name}.entropy", "nats a decision"
        yield f"policies.{name}.grad_norm", "before clipping"


def inside(line: Mapping[str, Any], name: str) -> Any:
    """Where the learner measured everything again, its gap to itself says nothing; `sampler` says how far it is from who drew."""
    if name == "mismatch" and "sampler" in line:
        return None
    value: Any = line
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return 0.0 if value is None and name.startswith("labels.") and "labels" in line else value


def ahead(lines: Sequence[Mapping[str, Any]]) -> str:
    """What was too old to be learned from, beside what was kept."""
    groups = staleness.seen(lines)
    if not groups:
        return ""
    classes = [(by, name, n) for by, some in staleness.tables(groups).items() for name, n in some.items() if any(n.values())]
    rows = [(by, name, n["discarded"], n["kept"]) for by, name, n in classes]
    return f"<p>{escape(staleness.text(groups).splitlines()[0])}</p>{table(rows, ('by', '', 'discarded', 'kept'))}"


def of_tools(lines: Sequence[Mapping[str, Any]]) -> str:
    """What was called, how much of it was no good, and how long answers took, where a world says that."""
    names = sorted({name for line in lines for name in line.get("tools", {})})
    rows = list[list[Any]]()
    for name in names:
        told = [line["tools"][name] for line in lines if name in line.get("tools", {})]
        took = [line["t"]["tools"][name] for line in lines if name in line.get("t", {}).get("tools", {})]
        calls, failed = (sum(one[key] for one in told) for key in ("calls", "failed"))
        seconds = [f"{median(one['median'] for one in took):.3f}", f"{max(one['most'] for one in took):.3f}"] if took else ["", ""]
        rows.append([name, calls, failed, f"{failed / calls:.1%}", *seconds])
    return table(rows, ("tool", "calls", "no good", "share", "seconds, median", "longest")) if rows else ""


def of_memory(directory: Path, lines: Sequence[Mapping[str, Any]]) -> str:
    """How a memory grew, and the cases that were read most, with what became of the tasks behind them."""
    drawn = [f"<figure>{svg(points)}<figcaption>{name}</figcaption></figure>" for name, points in reminded.grown(lines).items() if points]
    rows = [[k.number, k.asked, k.wrote, "right" if k.right else "wrong", k.read, f"{k.solved:.0%}"] for k in reminded.most_read(directory)]
    head = ("case", "asked", "wrote", "it was", "read", "solved behind it")
    return (f"<div class=curves>{''.join(drawn)}</div>" if drawn else "") + (table(rows, head) if rows else "")


def others(lines: Sequence[Mapping[str, Any]]) -> str:
    """What became of other trainers' groups."""
    found = swarm.said(lines[-1]) if lines else []
    return pre("\n".join(found)) if found else ""


def svg(
    points: Sequence[tuple[float, float]],
    marks: Sequence[tuple[float, float]] = (),
    bounds: Sequence[float] = (),
    width: int = 320,
    height: int = 150,
) -> str:
    """A curve in its own box, with its extremes written at the axes. Steps without a value are a gap; `bounds` are upright lines."""
    everything = [*points, *marks, *((x, points[0][1]) for x in bounds)]
    xs, ys = [x for x, _ in everything], [y for _, y in everything]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    wide, tall = (right - left) or 1.0, (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return 44 + (x - left) / wide * (width - 56), 8 + (high - y) / tall * (height - 32)

    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        runs += [[]] if runs[-1] and point[0] - runs[-1][-1][0] > 1 else []
        runs[-1].append(point)
    paths = (" ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in run) for run in runs)
    drawn = "".join(f"<polyline class=curve points='{path}'/>" for path in paths)
    upright = "".join(f"<path class=axis d='M{at(x, high)[0]:.1f} 4V{height - 22}'/>" for x in bounds)
    dots = "".join("<circle class=held cx='{:.1f}' cy='{:.1f}' r='4'/>".format(*at(x, y)) for x, y in marks)
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img'><path class=axis d='M44 4V{height - 22}H{width - 8}' fill='none'/>"
        f"<text x='2' y='14'>{high:.3g}</text><text x='2' y='{height - 24}'>{low:.3g}</text><text x='44' y='{height - 8}'>{left:.0f}</text>"
        f"<text x='{width - 8}' y='{height - 8}' text-anchor='end'>{right:.0f}</text>{upright}{drawn}{dots}</svg>"
    )


def read_step(directory: Path, step: int) -> dict[str, Any] | None:
    """The record a step was computed from; None where it is missing or damaged, which `samples` says."""
    try:
        return read_commit(directory, step)
    except RunError:
        return None


def samples(directory: Path, steps: int) -> str:
    """The best and the worst rollout of one group in the first, the middle and the last step."""
    made = []
    for step in sorted({0, steps // 2, steps - 1} if steps else set()):
        try:
            record = read_commit(directory, step)
        except RunError as error:
            made.append(f"<h3>Step {step + 1}</h3><p class=dim>{escape(str(error))}</p>")
            continue
        if record is None:
            continue
        rewards = record["rewards"]
        group = widest(record["groups"], rewards)
        known = [r for r in group["rollouts"] if rewards.get(r["id"]) is not None] if group else []
        if group is None or not known:
            continue
        made.append(f"<h3>Step {step + 1}</h3><p class=dim>the task whose rollouts differ most</p>{pre(group['task']['prompt'])}")
        best, worst = max(known, key=lambda r: rewards[r["id"]]), min(known, key=lambda r: rewards[r["id"]])
        for word, rollout in {"best": best, "worst": worst}.items():
            made.append(shown(word, rollout, rewards[rollout["id"]], record["scores"], tree.decoder(directory)))
    return "".join(made) or "<p class=dim>no steps yet</p>"


def trees(directory: Path, about: dict[str, Any], steps: int) -> str:
    """Of the first and of the last step, the group whose rollouts differ most among those whose rollouts share segments."""
    made: list[str] = []
    for step in sorted({0, steps - 1} if steps else set()):
        record = read_step(directory, step)
        group = widest([g for g in record["groups"] if tree.is_tree(g)], record["rewards"]) if record else None
        if record is None or group is None:
            continue
        drawn = tree.draw(group, record["rewards"], record["fates"], tree.credits(about, record), tree.decoder(directory))
        made.append(f"<h3>Step {step + 1}</h3>{pre(group['task']['prompt'])}{drawn}")
    return tree.LEGEND + "".join(made) if made else ""


def widest(groups: list[dict[str, Any]], rewards: dict[str, float | None]) -> dict[str, Any] | None:
    def spread(group: dict[str, Any]) -> float:
        known = [v for r in group["rollouts"] if (v := rewards.get(r["id"])) is not None]
        return max(known) - min(known) if known else -1.0

    return max(groups, key=spread, default=None)


def shown(word: str, rollout: dict[str, Any], reward: float, scores: dict[str, Any], decode: tree.Decode) -> str:
    length = sum(len(s["tokens"]) for row in rollout["rows"] for s in row["segments"] if s["kind"] == "action")
    said = f"{word}: reward {reward:g}, {length} tokens, ended by {rollout['stop']}"
    if reason := scores.get("reasons", {}).get(rollout["id"]):
        said += f", {reason}"
    return f"<p class=dim>{escape(said)}</p>{episode(rollout, decode) or pre(rollout['text'])}"


def episode(rollout: dict[str, Any], decode: tree.Decode) -> str:
    """What stood in each of its rows, by whom, and which calls were no good; nothing of a rollout that nobody answered."""
    rows = rollout["rows"]
    answered = any(segment["kind"] == "observation" for row in rows for segment in row["segments"])
    if not (answered or len(rows) > 1) or decode(()):  # without a tokenizer there is the text
        return ""
    made = list[str]()
    for number, row in enumerate(rows, 1):
        if len(rows) > ROWS and ROWS // 2 < number <= len(rows) - ROWS // 2:
            made += [f"<p class=dim>… {len(rows) - 2 * (ROWS // 2)} rows between</p>"] if number == ROWS // 2 + 1 else []
            continue
        pieces, left = list[str](), LONGEST
        for segment in row["segments"]:
            text = "\n".join(map(tokens.plain, decode(segment["tokens"]).split("\n")))
            trained = " trained" if segment["id"] in row["trains"] else ""
            if left > 0:
                pieces.append(f"<span class='t {escape(segment['kind'])}{trained}'>{escape(text[:left])}</span>")
            left -= len(text)
        more = f"\n… {-left} more characters" if left < 0 else ""
        head = f"<p class=dim>row {number} of {len(rows)}</p>" if len(rows) > 1 else ""
        made.append(head + "<pre>" + "\n".join(pieces) + f"{more}</pre>")
    if bad := broken(rollout):
        made.append(f"<p class=dim>calls that were no good: {escape('; '.join(bad[:8]))}{' …' if len(bad) > 8 else ''}</p>")
    return "".join(made)


def broken(rollout: dict[str, Any]) -> list[str]:
    """Its calls that were no good, by their turn."""
    turns = enumerate(rollout["keys"].get("calls", ()), 1)
    return [f"turn {number}, {tool or 'no tool'}: {why[:80]}" for number, called in turns for tool, ok, why in called if not ok]


def tripwires(about: Mapping[str, Any], lines: list[dict[str, Any]]) -> str:
    """Which watch, and what they said when."""
    rows = [(line["step"] + 1, name, said) for line in lines for name, said in line.get("warnings", {}).items()]
    kinds: list[str] = []
    for now in about["tripwires"][-1:]:
        kinds += [
            f"{len(now['limits'])} on",
            *(f"{name} is silent here" for name in now["silent"]),
            *(f"{name} is off" for name in now["off"]),
        ]
    said = f"<p class=dim>{escape('; '.join([*kinds, *(() if rows else ('nothing seen',))]))}</p>" if kinds else ""
    return said + (table(rows, ("step", "tripwire", "said")) if rows else "")


def incidents(directory: Path, lines: list[dict[str, Any]]) -> str:
    """Faults that were not the policy's, by step."""
    total, rows = sum(line.get("incidents", 0) for line in lines), list[tuple[Any, ...]]()
    for line in lines:
        if line.get("incidents") and len(rows) < MANY:
            record = read_step(directory, line["step"]) or {"scores": {"incidents": []}}
            rows += [(line["step"] + 1, unit, channel, why[:300]) for unit, channel, why in record["scores"]["incidents"]]
    if not total:
        return "<p class=dim>none</p>"
    return f"<p>{total} in all; the first {min(len(rows), MANY)}:</p>" + table(rows[:MANY], ("step", "rollout", "channel", "why"))
