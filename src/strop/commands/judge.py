"""Ask a judge about replies in a file, in both orders and with votes: who wins, ties, position bias, what could not be read, cost.

Examples:
    strop judge pairs.jsonl --policy judge=runs/judge                                   prompt, chosen, rejected: is the chosen one better?
    strop judge replies.jsonl --policy judge=remote:http://HOST:8000/v1:MODEL --votes 3     prompt, replies: [text, …]
    strop judge replies.jsonl --form point --low 1 --high 5 --policy judge=MODEL --out verdicts.jsonl    each line when it is judged;
                                                                                        the same command goes on with those that lack
    strop judge replies.jsonl --ask ask.txt --form rank --policy judge=MODEL            asked in words of your own
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strop.cli import Interrupted, Usage, answer, table
from strop.commands import recipes

if TYPE_CHECKING:
    from strop.seams.context import Handle
    from strop.seams.judge import Ruling

AT_ONCE = 64
"""Lines before the judge at one time."""
PATIENCE = 16
"""So many lines in a row without a verdict are no judge."""
PROMPTS = ("system", "template", "chat")


def add(parser: argparse.ArgumentParser) -> None:
    from strop.seams.judge import KINDS, POINTS

    parser.add_argument("file", metavar="FILE", type=Path, help="JSON lines: prompt and replies, or prompt, chosen and rejected")
    parser.add_argument("--policy", metavar="judge=WHERE", required=True, help="who judges: judge=MODEL, a run, or remote:URL:MODEL")
    parser.add_argument(
        "--form", choices=list(KINDS), default="pair", help="a number for each reply, the better of two, or all in order [pair]"
    )
    parser.add_argument("--ask", metavar="FILE", type=Path, help="a file with the question in words of your own [strop's]")
    parser.add_argument("--low", type=float, default=POINTS.low, metavar="X", help=f"the lowest number of --form point [{POINTS.low:g}]")
    parser.add_argument("--high", type=float, default=POINTS.high, metavar="X", help=f"the highest one [{POINTS.high:g}]")
    parser.add_argument("--tag", default=POINTS.tag, metavar="WORD", help=f"what the verdict stands in, <WORD>…</WORD> [{POINTS.tag}]")
    parser.add_argument("--rivals", type=int, default=0, metavar="N", help="of --form pair: each reply against N others; 0 is all [0]")
    parser.add_argument("--votes", type=int, default=1, metavar="N", help="how often each question is asked [1]")
    parser.add_argument("--orders", type=int, default=2, choices=(1, 2), help="pairs and rankings are asked in both orders, or in one [2]")
    parser.add_argument("--tries", type=int, default=3, metavar="N", help="how often a vote that cannot be read is asked for [3]")
    parser.add_argument(
        "--max-tokens", type=int, default=POINTS.max_tokens, metavar="N", help=f"longest reply of the judge [{POINTS.max_tokens}]"
    )
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="0 is greedy, for one vote [1]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="keys noise and orders [0]")
    parser.add_argument("--deadline", type=float, default=600.0, metavar="S", help="seconds that one line may take [600]")
    parser.add_argument("--slots", type=int, default=64, metavar="N", help="of a judge in this process: rows decoded at once [64]")
    parser.add_argument("--cache", type=int, default=262144, metavar="N", help="positions kept for its prompts [262144]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where each line's verdicts go; what is there already is not asked again")
    recipes.add_flags(parser, "prompts of a judge in this process", only=PROMPTS)


@dataclass(frozen=True)
class Line:
    """Replies to be judged."""

    number: int
    prompt: str
    replies: tuple[str, ...]
    hash: str
    """Of its content, its place, and how it is judged."""


def run(args: argparse.Namespace) -> int:
    from strop.commands.live import Progress

    how, handle = judge(args)
    pairs, lines = read(args.file, how)
    done = before(args.out, lines) if args.out else {}
    left = [line for line in lines if line.hash not in done]
    began = time.perf_counter()
    with Progress("judge", "lines") as tell:
        judging = handle() if left else None
        try:
            missing = asyncio.run(asked(args, judging, how, left, done, lambda: tell(len(done), len(lines)))) if judging else {}
        except KeyboardInterrupt:
            raise Interrupted(f"What was judged is in {args.out}, and the same command goes on." if args.out else "") from None
    found = summary(how["form"].kind, pairs, lines, done)
    spent = judging.engine.counters.to_json() if judging else {}
    found["cost"] = {"prefilled": spent.get("prefilled", 0), "decoded": spent.get("decoded", 0), "seconds": time.perf_counter() - began}
    found |= {
        "file": str(args.file),
        "judge": args.policy.partition("=")[2],
        "asked": len(left),
        "out": str(args.out) if args.out else None,
    }
    found["unread"] += sum(unread for _, unread in missing.values())
    found["why"] = missing[min(missing)][0] if missing else None
    answer(args, found, shown(found))
    return 0 if done else 1


def judge(args: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], Handle]]:
    """How lines are judged, and who does it, once somebody is asked."""
    from strop.records import Sampling
    from strop.seams.asked import INITIAL, REMOTE, STAGE, named
    from strop.seams.judge import Form

    recipes.check_device(args.device)
    beside = named([args.policy])
    if list(beside) != ["judge"] or beside["judge"].start.startswith((INITIAL, STAGE)):
        raise Usage(f"--policy {args.policy}: who judges is called judge, and is a model, a run or a server: judge=runs/mine")
    given = recipes.given(args)
    if given and beside["judge"].start.startswith(REMOTE):
        raise Usage(f"a remote endpoint writes the chat itself, so --{next(iter(given))} would change nothing there. Say it in --ask FILE.")
    if args.slots < 1 or args.cache < 1:
        raise Usage(f"--slots and --cache are at least 1, got {args.slots} and {args.cache}")
    words = args.ask.read_text() if args.ask else ""
    if args.ask and not words.strip():
        raise Usage(f"{args.ask} is empty")
    form = Form(args.form, words.rstrip("\n"), args.low, args.high, args.tag, args.rivals, args.max_tokens, Sampling(args.temperature))
    how: dict[str, Any] = {"form": form, **{name: getattr(args, name) for name in ("votes", "orders", "tries", "deadline")}}
    form.fits(how, 2)
    how |= {"seed": args.seed, "policy": args.policy, **given}

    def handle() -> Handle:
        from strop.others import others
        from strop.recipe import Recipe

        recipe = recipes.settled(Recipe(seed=args.seed, slots=args.slots, cache=args.cache, device=args.device), given)
        made = others(beside, None, recipe, Path())["judge"]
        made.engine.begin(-1)
        return made

    return how, handle


def read(file: Path, how: Mapping[str, Any]) -> tuple[bool, list[Line]]:
    """Whether a file holds pairs, and its lines."""
    from strop.records import digest
    from strop.seams.part import describe
    from strop.tasks.adapters import file_at, json_rows
    from strop.tasks.table import SIDES, Columns, a_text, holds_pair

    said = {**how, "form": describe(how["form"]), "deadline": 0}  # which changes no verdict that is there
    found: list[Line] = []
    pairs = set[bool]()
    for number, row in json_rows(file_at(str(file), "judge"), Columns(grader="exact")):
        where = f"line {number} of {file.name}"
        pair = holds_pair(row)
        if not isinstance(row, Mapping) or "prompt" not in row or not (pair or "replies" in row):
            raise Usage(f"{where} holds no prompt with replies: [text, …], or with chosen and rejected")
        fields = cast(Mapping[str, Any], row)
        replies = [a_text(fields[side], f"{where}: field {side!r}") for side in SIDES] if pair else texts(fields["replies"], where)
        if len(replies) < 2 and how["form"].kind != "point":
            raise Usage(f"{where} has {len(replies)} reply, and {how['form'].kind} compares. Give it two or more, or ask --form point.")
        prompt = a_text(fields["prompt"], f"{where}: field 'prompt'")
        found.append(Line(number, prompt, tuple(replies), digest([number, prompt, replies, said])))
        pairs.add(pair)
    if not found or len(pairs) > 1:
        raise Usage(f"{file} has {'lines of both kinds, pairs and lists of replies' if found else 'no lines'}. Give it lines of one kind.")
    return pairs.pop(), found


def texts(value: Any, where: str) -> list[str]:
    """Replies, of which one may be empty."""
    from strop.tasks.table import a_text

    if not isinstance(value, list) or not value:
        raise Usage(f"{where}: field 'replies' is a list of texts, got {str(value)[:40]!r}")
    return [a_text(text, f"{where}: a reply") if text != "" else "" for text in cast(list[Any], value)]


def before(out: Path, lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """The verdicts that stand in a file, by the hash of their line; a torn last one is cut."""
    from strop import durable
    from strop.records import canonical
    from strop.shape import VERDICT, odd

    out.parent.mkdir(parents=True, exist_ok=True)
    made, wanted, begins = durable.lines(out), {line.hash: line for line in lines}, b'{"answers":'
    there = b"" if made or not out.exists() else out.read_bytes()

    def fits(one: dict[str, Any]) -> bool:
        if odd(one, VERDICT) or (line := wanted.get(one["hash"])) is None:
            return False
        if any(0xD800 <= ord(letter) < 0xE000 for a in one["answers"] for text in a["said"] for letter in text):
            return False  # half a character, which no file of ours holds
        whole = all(a["verdicts"] and all(len(verdict) == len(a["shown"]) for verdict in a["verdicts"]) for a in one["answers"])
        return (
            whole and len(one["scores"]) == len(line.replies) and all({*a["shown"]} <= {*range(len(line.replies))} for a in one["answers"])
        )

    if not all(map(fits, made)) or there[: len(begins)] != begins[: len(there)] or b"\n" in there:
        raise Usage(f"{out} holds something else than verdicts on these lines, asked so. Name another file, or ask as it was asked.")
    if out.exists():
        durable.write(out, b"".join(canonical(one).encode() + b"\n" for one in made))
    return {one["hash"]: one for one in made}


async def asked(
    args: argparse.Namespace,
    handle: Handle,
    how: Mapping[str, Any],
    lines: Sequence[Line],
    done: dict[str, dict[str, Any]],
    tell: Callable[[], None],
) -> dict[int, tuple[str, int]]:
    """Judge these lines; what is judged goes to `done` and to the file. Of each of the others, by its number, why it has no verdict and
    how much of the judge could not be read."""
    from strop import durable
    from strop.records import canonical
    from strop.seams.context import keyed
    from strop.seams.judge import Case, rule

    asking = {name: how[name] for name in ("votes", "orders", "tries", "deadline")}
    room, missing, in_a_row = asyncio.Semaphore(AT_ONCE), dict[int, tuple[str, int]](), 0

    async def one(line: Line) -> tuple[Line, Ruling]:
        async with room:
            case = Case(f"judge/{line.number}", line.prompt, line.replies, keyed(how["seed"], "judge", line.number))
            return line, (await rule(handle, how["form"], [case], **asking))[0]

    tasks = [asyncio.ensure_future(one(line)) for line in lines]
    try:
        for each in asyncio.as_completed(tasks):
            line, ruling = await each
            why = next(filter(None, ruling.whys), "")
            in_a_row = in_a_row + 1 if why else 0
            if why:
                missing[line.number] = why, sum(each.unread for each in ruling.answers)
            else:
                done[line.hash] = told(line, ruling)
                if args.out:
                    durable.append(args.out, canonical(done[line.hash]))
            if in_a_row == PATIENCE:
                kept = f" What was judged is in {args.out}, and the same command goes on." if args.out else ""
                raise Usage(f"{in_a_row} lines in a row got no verdict; of line {line.number}: {why}.{kept}")
            tell()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return missing


def told(line: Line, ruling: Ruling) -> dict[str, Any]:
    """A line's verdicts, as they are kept."""
    return {
        "line": line.number,
        "hash": line.hash,
        "scores": list(ruling.scores),
        "answers": [{"shown": a.shown, "verdicts": a.verdicts, "said": a.said, "unread": a.unread} for a in ruling.answers],
    }


def summary(kind: str, pairs: bool, lines: Sequence[Line], done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the verdicts come to."""
    from strop.seams.judge import Answer, Form

    form = Form(kind)
    names = ["chosen", "rejected"] if pairs else [f"reply {i}" for i in range(1, 1 + max(len(line.replies) for line in lines))]
    made = [done[line.hash] for line in lines if line.hash in done]
    scores = [[one["scores"][i] for one in made if i < len(one["scores"])] for i in range(len(names))]
    found: dict[str, Any] = {"form": kind, "lines": len(lines), "judged": len(made)}
    found["scores"] = {name: {"judged": len(of), "mean": _mean(of)} for name, of in zip(names, scores, strict=True)}
    compared: dict[tuple[int, frozenset[int]], list[dict[int, float]]] = {}
    firsts, unread = list[float](), 0
    for number, one in enumerate(made):
        for each in one["answers"]:
            verdicts = tuple(tuple(float(x) for x in verdict) for verdict in each["verdicts"])
            unread += each["unread"]
            if kind == "point":
                continue
            firsts += [float(verdict[0] == 1) for verdict in verdicts if set(verdict) != {0.5}]
            got = form.decided(Answer(tuple(each["shown"]), verdicts, (), 0, ""))
            compared.setdefault((number, frozenset(each["shown"])), []).append(got)
    found["unread"] = unread
    if kind != "point":
        both = [of for of in compared.values() if len(of) > 1]
        settled = [of[0] if all(one == of[0] for one in of) else {} for of in compared.values()]
        found |= {"comparisons": len(compared), "orders_differ": _mean([float(of[0] != of[1]) for of in both])}
        found["first_wins"] = _mean(firsts)
        if kind == "pair":
            found["ties"] = _mean([float(set(of.values()) <= {0.5}) for of in settled])
    if pairs:
        gaps = [one["scores"][0] - one["scores"][1] for one in made]
        found["chosen_wins"], found["chosen_ties"] = _mean([float(gap > 0) for gap in gaps]), _mean([float(gap == 0) for gap in gaps])
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


SAID = {
    "chosen_wins": "chosen scores above rejected",
    "chosen_ties": "both score alike",
    "comparisons": "sets of replies compared",
    "ties": "of them ties, disagreements of the orders included",
    "orders_differ": "of them judged otherwise the other way round (position bias)",
    "first_wins": "verdicts for the reply shown first, ties left out",
    "unread": "replies of the judge that could not be read, and were asked again",
}
"""What the table calls what was found."""


def shown(found: Mapping[str, Any]) -> str:
    score = "win rate" if found["form"] == "pair" else "score"
    text = (
        f"{found['judge']} on {found['file']}: {found['judged']} of {found['lines']} lines judged ({found['asked']} asked), {found['form']}"
    )
    text += "\n\n" + table([[name, one["judged"], one["mean"]] for name, one in found["scores"].items()], ["", "judged", score])
    text += "\n" + table([[said, found[name]] for name, said in SAID.items() if name in found], ["", ""])
    cost = found["cost"]
    text += f"\n\ncost of this command: {cost['decoded']} tokens written, {cost['prefilled']} read, {cost['seconds']:.1f} s"
    if found["why"]:
        text += f"\n\n{found['lines'] - found['judged']} lines have no verdict; of the first: {found['why']}"
    return text + (f"\n\nverdicts {found['out']}" if found["out"] else "")
