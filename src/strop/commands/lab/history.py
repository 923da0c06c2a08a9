"""What a policy answers once, against what it answers again and again in one conversation: the B-score (arXiv:2505.18545).

    P_single   how often the answer that is given most often in contexts of its own is given there
    P_multi    how often it is given where the question is asked again and again, with all earlier turns in sight
    B          the one less the other: far above 0 it is a habit of first answers, near 0 it is known or meant

Examples:
    strop lab history runs/habits-sft-1 --label kind=habit          whose B tells questions apart that the task labels
    strop lab history MODEL --task my.py --turns 12 --fresh 12      options: a list of texts in a task's needs that stand in its prompt
    strop lab history MODEL --engine remote:http://HOST:8000/v1 --task my.py    any endpoint that speaks chat completions
    strop lab history runs/habits-sft-1 --history shuffled          with earlier turns in another order each time
    strop lab history runs/habits-sft-1 --exact --turns 4           chances over all that may have been said, instead of answers
    strop lab history runs/habits-sft-1 --picture history.png
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, table
from strop.commands import recipes
from strop.records import Group
from strop.seams.again import HISTORIES, Answered, AskAgain

if TYPE_CHECKING:
    from strop.records import Task

SHOWN = 8
"""Questions of the largest B that are printed."""
MEASURES = {"single": "P_single", "multi": "P_multi", "b": "B"}
LOW = 0.5


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL_OR_RUN", help="as `strop eval` takes it: pico, a directory, a hub id, a run")
    parser.add_argument("--task", metavar="NAME", help="a source from `strop tasks`, FILE.py or FILE.py:NAME [the run's, or the default]")
    parser.add_argument("--tasks", type=int, default=60, metavar="N", help="held-out questions [60]")
    parser.add_argument("--turns", type=int, default=10, metavar="N", help="how often a conversation asks the question [10]")
    parser.add_argument("--talks", type=int, default=2, metavar="N", help="conversations about each question [2]")
    parser.add_argument("--fresh", type=int, default=20, metavar="N", help="answers in contexts of their own [20]")
    parser.add_argument("--history", choices=HISTORIES, default="kept", help="earlier turns: where they were drawn; or written anew [kept]")
    parser.add_argument("--in-order", action="store_true", help="options stay in the task's order [another one each time]")
    parser.add_argument("--label", metavar="FIELD=VALUE", help="of a task's needs: the questions that B is to tell from the others")
    parser.add_argument("--exact", action="store_true", help="chances of <answer>OPTION</answer> over all pasts: no drawing")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="of every answer [1]")
    parser.add_argument("--max-tokens", type=int, default=32, metavar="N", help="longest answer [32]")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="keys the noise of sampling; the questions are always the same [0]"
    )
    parser.add_argument("--slots", type=int, default=256, metavar="N", help="rows decoded at once [256]")
    parser.add_argument("--cache", type=int, default=262144, metavar="N", help="positions kept for prompts [262144]")
    parser.add_argument("--engine", default="embedded", metavar="NAME", help="embedded, vllm (as in a recipe), or remote:URL [embedded]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it as PNG, SVG or PDF")
    recipes.add_flags(parser, "questions and prompts [the run's]", only=recipes.QUESTIONS)


def run(args: argparse.Namespace) -> int:
    from strop.commands.eval import asked, find

    for name in ("tasks", "turns", "talks", "fresh", "max_tokens", "slots", "cache"):
        if getattr(args, name) < 1:
            raise Usage(f"--{name.replace('_', '-')} is at least 1, got {getattr(args, name)}")
    if not 0 < args.temperature < float("inf"):
        raise Usage(f"--temperature is above 0, got {args.temperature:g}: greedy, every answer would be the same")
    if args.picture is not None and args.picture.suffix not in (".png", ".svg", ".pdf"):
        raise Usage(f"--picture writes .png, .svg or .pdf, got {args.picture}")
    if args.exact and args.temperature != 1:
        raise Usage("--exact has the policy's own chances: leave --temperature out")
    recipes.check_device(args.device)
    model, about, parts = find(args.model)
    found = measured(args, model, asked(args, about), parts)
    text = shown(found)
    if args.picture is not None:
        from strop.report.history import write

        args.picture.parent.mkdir(parents=True, exist_ok=True)
        text += f"\n\npicture {write(found, args.picture)}"
    answer(args, found, text)
    return 0


def measured(args: argparse.Namespace, model: str, recipe: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Every question with its numbers, and what they say together."""
    from strop.commands.eval import reached
    from strop.evaluate import HELD_OUT_SEED, held_out_tasks
    from strop.seams.source import drawn
    from strop.tasks import source as named

    source = named(recipe.task_name()) if args.task or args.recipe_data or "source" not in parts else parts["source"]
    count = held_out_tasks(source, args.tasks)
    tasks = [drawn(source, "test", HELD_OUT_SEED, i) for i in range(count)]
    labels = [labelled(task, args.label) for task in tasks] if args.label else None
    if labels is not None and len(set(labels)) < 2:
        raise Usage(f"--label {args.label} holds of {'all' if labels[0] else 'none'} of {count} questions: there is nothing to tell apart")
    handle, _, source = reached(args, model, recipe, source, args.max_tokens)
    how = AskAgain(args.turns, not args.in_order, args.talks, args.fresh, args.history, args.max_tokens)
    said: dict[str, Any] = {"model": model, "task": recipe.task or source.name, "turns": args.turns, "talks": args.talks, "seed": args.seed}
    said |= {"history": args.history, "exact": args.exact}
    if args.exact:
        return said | _exact(how, handle, source, tasks, labels, args)
    return said | _sampled(how, handle, source, labels, args, count)


def labelled(task: Task, label: str) -> bool:
    field, equals, value = label.partition("=")
    if not equals or field not in task.needs:
        raise Usage(f"--label is FIELD=VALUE with a field of the task's needs ({', '.join(task.needs)}), got {label!r}")
    return str(task.needs[field]) == value


def _sampled(
    how: AskAgain, handle: Any, source: Any, labels: Sequence[bool] | None, args: argparse.Namespace, count: int
) -> dict[str, Any]:
    from strop.commands.live import Progress
    from strop.evaluate import evaluate
    from strop.lab.history import by_turn, of_top
    from strop.records import Sampling, Scores
    from strop.seams.again import read
    from strop.seams.source import answer_of

    groups, right = list[Group](), list[bool]()

    def look(made: list[Group], scores: Scores) -> None:
        groups.extend(made)
        right.extend(scores.get(group.rollouts[0], "outcome") == 1 for group in made)

    with Progress("history") as tell:
        work = evaluate(
            handle,
            source,
            count,
            samples=how.group_size,
            sampling=Sampling(args.temperature),
            max_tokens=args.max_tokens,
            sampler=how,
            tell=tell,
            look=look,
        )
        asyncio.run(work)
    asked = [read(group, lambda text: answer_of(source, text)) for group in groups]
    rows = [
        {"question": g.task.prompt, "id": one.task, "answer": one.top, **{name: of_top(one, name) for name in MEASURES}}
        | {"invalid": list(one.invalid), "label": None if labels is None else labels[i]}
        for i, (g, one) in enumerate(zip(groups, asked, strict=True))
    ]
    bad = {
        "single": [sum(one.of_single.invalid[i] for one in asked) for i in (0, 1)],
        "multi": [sum(one.of_talks.invalid[i] for one in asked) for i in (0, 1)],
    }
    found = {"rows": rows, "invalid": bad, **_together(rows)}
    found["by_turn"] = {str(kind).lower(): by_turn(own) for kind, own in _kinds(asked, labels)}
    if labels is not None:
        found["thresholds"] = _thresholds(asked, labels, right)
    return found


def _exact(
    how: AskAgain, handle: Any, source: Any, tasks: Sequence[Task], labels: Sequence[bool] | None, args: argparse.Namespace
) -> dict[str, Any]:
    from strop.commands.live import Progress
    from strop.evaluate import HELD_OUT_SEED
    from strop.grading import grade
    from strop.lab.history import expected, expected_b
    from strop.seams.again import options_of
    from strop.seams.context import Ctx
    from strop.seams.context import Progress as Where

    async def verdict(groups: list[Group]) -> Any:
        return await grade(source, groups)

    ctx, rows, turns = Ctx(HELD_OUT_SEED, Where(), source, {"actor": handle}, verdict), list[dict[str, Any]](), list[list[float]]()

    async def one(task: Task, number: int) -> None:
        options = options_of(task)
        if len(options) < 2:
            raise Usage(f"--exact needs the options of each question, a list in its task's needs; {task.prompt[:60]!r} has {len(options)}")
        replies = {option: f"<answer>{option}</answer>" for option in options}
        at = ctx.at(f"held-out/{number}/{task.id}")
        single = [
            (await expected(at, "actor", [how.asked(task, at, f"fresh/{i}")], replies))[0] for i in range(args.fresh if how.shuffle else 1)
        ]
        talks = [
            await expected(at, "actor", [how.asked(task, at, f"again/{i}/{turn}") for turn in range(how.turns)], replies)
            for i in range(how.n if how.shuffle else 1)
        ]
        b = expected_b(single, talks)
        alone = {option: fmean(each[option] for each in single) for option in options}
        top = max(options, key=alone.__getitem__)
        turns.append([fmean(talk[turn][top] for talk in talks) for turn in range(how.turns)])
        label = None if labels is None else labels[number]
        rows.append(
            {"question": task.prompt, "id": task.id, "answer": top, "single": alone[top], "multi": alone[top] - b[top], "b": b[top]}
            | {"invalid": [0, 0], "label": label}
        )

    async def each() -> None:
        with Progress("history") as tell:
            for number, task in enumerate(tasks):
                await one(task, number)
                tell(number + 1, len(tasks))

    asyncio.run(each())
    by = {str(kind).lower(): [fmean(turn) for turn in zip(*own, strict=True)] for kind, own in _kinds(turns, labels)}
    return {"rows": rows, "invalid": None, **_together(rows), "by_turn": by}


def _kinds(each: Sequence[Any], labels: Sequence[bool] | None) -> list[tuple[str, list[Any]]]:
    """All, and those with the label and without it."""
    if labels is None:
        return [("all", list(each))]
    return [(name, [one for one, label in zip(each, labels, strict=True) if label == want]) for name, want in LABELS]


LABELS = (("labelled", True), ("others", False))


def _together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of each kind; and how well each measure tells the labelled from the others, over the questions that have all of them."""
    from strop.claims.statistics import auroc

    known = [row for row in rows if row["b"] is not None]
    labels = None if not rows or rows[0]["label"] is None else [bool(row["label"]) for row in known]
    means = {
        kind: {"questions": len(own), **{name: fmean(row[name] for row in own) if own else None for name in MEASURES}}
        for kind, own in _kinds(known, labels)
    }
    found: dict[str, Any] = {"means": means, "unknown": len(rows) - len(known)}
    if labels is not None and len(set(labels)) == 2:
        found["auroc"] = {name: auroc([row[name] for row in known], labels) for name in MEASURES}
    return found


def _thresholds(asked: Sequence[Answered], labels: Sequence[bool], right: Sequence[bool]) -> dict[str, Any] | None:
    """Whether to accept a first answer, decided by thresholds that were chosen on the other half. A labelled question's is to be accepted
    where it is given alone no oftener than by chance, another's where it is right."""
    from strop.lab.history import accuracy, chosen, halves

    def good(one: Answered, label: bool, is_right: bool) -> bool:
        return (one.alone or {}).get(one.single[0] or "", 1.0) <= 1 / max(len(one.known), 1) if label else is_right

    want = [good(*each) for each in zip(asked, labels, right, strict=True)]
    fit, rest = halves(asked)
    if not fit or not rest:
        return None
    found: dict[str, Any] = {"chosen_on": len(fit), "reported_on": len(rest)}
    for name, filters in (("P_single", ("single",)), ("B", ("b",)), ("both", ("single", "b"))):
        made = chosen([asked[i] for i in fit], [want[i] for i in fit], filters)
        found[name] = {
            "least": made.least,
            "most": made.most,
            "accuracy": accuracy(made, [asked[i] for i in rest], [want[i] for i in rest]),
        }
    return found


def shown(found: Mapping[str, Any]) -> str:
    """The tables."""
    how = "chances over all pasts" if found["exact"] else f"{found['talks']} conversations, {found['history']}"
    lines = [f"{found['model']} on {found['task']}: {len(found['rows'])} questions, {found['turns']} turns, {how}", ""]
    rows = [[kind, said["questions"], *(said[name] for name in MEASURES)] for kind, said in found["means"].items()]
    if "auroc" in found:
        rows.append(["AUROC", "", *(found["auroc"][name] for name in MEASURES)])
    lines += [table(rows, ["the answer given most often alone", "questions", *MEASURES.values()])]
    if "auroc" in found:
        low = [MEASURES[name] for name, value in found["auroc"].items() if value < LOW]
        lines += [
            f"AUROC: how often a labelled question scores above another; below 0.5 a low score is what tells ({', '.join(low)})"
        ] * bool(low)
    lines += ["", table([[k, *v] for k, v in found["by_turn"].items()], ["by turn", *(str(t + 1) for t in range(found["turns"]))])]
    if (bad := found["invalid"]) is not None:
        said = [f"{bad[k][0]} of {bad[k][1]} {name}" for k, name in (("single", "single answers"), ("multi", "repeated ones"))]
        lines += ["", f"invalid: {' and '.join(said)}; they are in no share"]
    if found["unknown"]:
        lines += [f"{found['unknown']} questions have no valid answer on one side: they have no B"]
    if (fitted := found.get("thresholds")) is not None:
        rows = [[name, fitted[name]["least"], fitted[name]["most"], fitted[name]["accuracy"]] for name in ("P_single", "B", "both")]
        lines += [
            "",
            f"accept a first answer: thresholds chosen on {fitted['chosen_on']} questions, reported on {fitted['reported_on']} others",
        ]
        lines += [table(rows, ["by", "P_single at least", "B at most", "right decisions"])]
    most = sorted((row for row in found["rows"] if row["b"] is not None), key=lambda row: -row["b"])[:SHOWN]
    if most:
        rows = [[row["question"][-40:], row["answer"], *(row[name] for name in MEASURES)] for row in most]
        lines += ["", table(rows, ["most by habit", "answer", *MEASURES.values()])]
    return "\n".join(lines)
