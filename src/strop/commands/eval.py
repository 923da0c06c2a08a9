"""Score a model, or the last checkpoint of a run, on held-out tasks: unbiased pass@k, mean, majority, with intervals.

Examples:
    strop eval pico --task chain --samples 16
    strop eval runs/chain-grpo-1 --temperature 0.6
    strop eval pico --task riddles.py --show 2                what it says: best, worst, cut and unparsed replies
    strop eval my-model --data test.jsonl --prompt-field question --answer-field answer
    strop eval MODEL --engine remote:http://HOST:8000/v1 --task chain     any endpoint that speaks chat completions
    strop eval runs/facts-abstain-1 --picture coverage.png     also by confidence target, where the task states one
    strop eval MODEL --engine remote:… --task wiki --calls native --show 2     in a world, told of its tools in the endpoint's own way
    strop eval runs/wiki-resum-1 --window recent:limit=96     what else of an episode might be seen
    strop eval runs/formats-arm-1 --sampler 'consensus:<answer>|<think>=|<think>'     in another way than for a reply; cost with it
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, say, table
from strop.commands import recipes
from strop.worlds.calls import FORMATS

if TYPE_CHECKING:
    from strop.recipe import Recipe
    from strop.records import Group
    from strop.seams.context import Handle


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL_OR_RUN", help="pico, a directory in Hugging Face format, a hub id, a run's directory, or RUN:POLICY"
    )
    parser.add_argument(
        "--task",
        metavar="NAME",
        help="a source from `strop tasks`, FILE.py or FILE.py:NAME [the run's, or the default]",
    )
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="held-out tasks [200]")
    parser.add_argument("--samples", type=int, default=16, metavar="N", help="replies per task [16; 1 when greedy]")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="0 is greedy [1]")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="X", help="keep the likeliest tokens up to this mass [1: all]")
    parser.add_argument("--top-k", type=int, default=0, metavar="N", help="keep this many of the likeliest tokens [0: all]")
    parser.add_argument("--turns", type=int, default=16, metavar="N", help="of a model, where a task's world answers: actions at most [16]")
    parser.add_argument("--observation", type=int, default=256, metavar="N", help="and tokens of an answer that it is shown at most [256]")
    parser.add_argument("--calls", choices=[*FORMATS], default="hermes", help="and how it writes calls of that world's tools [hermes]")
    parser.add_argument(
        "--window",
        metavar="NAME",
        help="what of an episode is still seen: append, recent, pruned, summarised, report, afresh, with knobs as recent:limit=2048; "
        "summarised:by=NAME,limit=2048 asks --policy NAME=MODEL; FILE.py:NAME [a run's own, or append]",
    )
    parser.add_argument("--max-tokens", type=int, default=None, metavar="N", help="longest reply [the run's, or 128]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="keys the noise of sampling; the tasks are always the same [0]")
    parser.add_argument("--slots", type=int, default=256, metavar="N", help="rows decoded at once: lower it when memory is short [256]")
    parser.add_argument("--cache", type=int, default=262144, metavar="N", help="positions kept for prompts [262144]")
    parser.add_argument("--engine", default="embedded", metavar="NAME", help="embedded, vllm (as in a recipe), or remote:URL [embedded]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many replies: best, worst, cut, unparsed [0]")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="a text that ends a reply; several times")
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help="how it is asked: opening:WORDS begins every reply, consensus:WORDS|WORDS|WORDS asks so until answers agree; "
        "exit:TURNS|agree|tokens=MOST stops a reply in turns behind an answer; vote:K says what most of K tries answer; "
        "judge judges a solution's steps, search:WIDTH writes them by a judge's scores (--policy prm=RUN); FILE.py:NAME",
    )
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="another policy that --sampler, --window or the task's world asks: a model, a run or RUN:POLICY; several",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw coverage and score by confidence target as PNG, SVG or PDF")
    recipes.add_flags(parser, "questions and prompts [the run's]", only=recipes.QUESTIONS)


def run(args: argparse.Namespace) -> int:
    for name, low in {
        "tasks": 1,
        "samples": 1,
        "temperature": 0,
        "top_k": 0,
        "slots": 1,
        "cache": 1,
        "show": 0,
        "turns": 1,
        "observation": 0,
    }.items():
        if not getattr(args, name) >= low or getattr(args, name) == float("inf"):
            raise Usage(f"--{name.replace('_', '-')} is at least {low}, got {getattr(args, name)}")
    if not 0 < args.top_p <= 1:
        raise Usage(f"--top-p lies in (0, 1], got {args.top_p}")
    if args.max_tokens is not None and args.max_tokens < 1:
        raise Usage(f"--max-tokens is at least 1, got {args.max_tokens}")
    recipes.check_device(args.device)
    model, about, parts = find(args.model)
    recipe = asked(args, about)
    most = args.max_tokens or (getattr(parts["method"].sampler, "max_tokens", 128) if "method" in parts else 128)
    if args.picture is not None and args.picture.suffix not in (".png", ".svg", ".pdf"):
        raise Usage(f"--picture writes .png, .svg or .pdf, got {args.picture}")
    found = measure(args, model, recipe, most, parts, about)
    summary = {"model": model, **found}
    first = (*(k for k in found if k.startswith("pass@")), "mean", "majority", "lenient", "length", "cut")
    names = [n for n in dict.fromkeys((*first, *found["interval"])) if found.get(n) is not None]  # then the source's other channels
    rows = [[n, found[n], *(found["interval"].get(n) or (None, None))] for n in names]
    title = f"{model} on {found['task']}: {found['tasks']} held-out tasks x {found['samples']} samples, temperature {args.temperature:g}"
    title += f", asked by {args.sampler}" if args.sampler else ""
    text = f"{title}\n\n{table(rows, ['', 'mean', 'low', 'high'])}"
    for name, spent in found.get("cost", {}).items():
        text += f"\n{name} computed {', '.join(f'{count:.1f} {kind}' for kind, count in spent.items()) or 'no'} positions a task"
    if calls := found.get("calls"):
        text += f"\n{calls['rollout']:.1f} calls a rollout, {calls['broken']:.0%} of them no good"
        text += "".join(f"\n    {share:4.0%}  {why}" for why, share in calls["why"].items())
    if args.show:
        text += "\n" + replies(found)
    if found["advice"]:
        text += f"\n\nnote: {found['advice']}"
    if "targets" in found:
        text += "\n\n" + by_target(found)
        if args.picture is not None:
            from strop.report.calibration import write

            args.picture.parent.mkdir(parents=True, exist_ok=True)
            text += f"\n\npicture {write(found, args.picture)}"
    answer(args, summary, text)
    return 0


REASONS = 8


def called(groups: Sequence[Group]) -> dict[str, Any] | None:
    """How often a world was called, and what was wrong with the calls: of all of them, the shares of the commonest reasons."""
    from strop.seams.world import calls

    rollouts = [rollout for group in groups for rollout in group.rollouts]
    made = [(tool, ok, why) for rollout in rollouts for tool, ok, why in calls(rollout)]
    if not made:
        return None
    why = Counter(f"{tool + ': ' if tool and not why.startswith(tool) else ''}{why[:60]}" for tool, ok, why in made if not ok)
    return {
        "rollout": len(made) / len(rollouts),
        "broken": sum(why.values()) / len(made),
        "why": {one: count / len(made) for one, count in why.most_common(REASONS)},
    }


def by_target(found: dict[str, Any]) -> str:
    """A line a target, with the oracle's beside it; then how far the beliefs behind the oracle can be trusted."""
    rows = [
        [f"{own['target']:.2f}", *(own[k] for k in ("tasks", "score", "error", "coverage", "selective")), best["score"], best["coverage"]]
        for own, best in zip(found["targets"], found["oracle"], strict=True)
    ]
    head = ["t", "tasks", "score", "error", "coverage", "right if answered", "oracle: score", "coverage"]
    bins = [[f"{b['above']:g} to {b['to']:g}", b["share"], b["sure"], b["right"]] for b in found["reliability"]]
    said = "by confidence target; the oracle gives the likeliest answer of the model it all began with, where that is surer than t"
    said += f"\n\n{table(rows, head)}\n\ncoverage rises by at most {found['rises']:.3f} from one target to the next; heeding them means 0"
    said += f"\n\nhow sure that model ({found['oracle_model']}) is of its likeliest answer, and how often it is right\n\n"
    return said + table(bins, ["sure", "share", "mean", "right"])


NEARLY_ALL = 0.8


def advice(shares: dict[str, float], most: int) -> str | None:
    """One line, where what was measured is hardly the model's ability."""
    if shares["cut"] > NEARLY_ALL:
        return (
            f"{shares['cut']:.0%} of the replies were cut at {most} tokens: raise --max-tokens, or name what ends a reply, --stop TEXT "
            "(a base model: --chat qa)"
        )
    if shares["unparsed"] > NEARLY_ALL:
        return (
            f"in {shares['unparsed']:.0%} of the replies no answer could be read: look at some, --show 3; worked examples teach the form, "
            "--shots 4"
        )
    return None


def replies(found: dict[str, Any]) -> str:
    """Some of each kind, as the model wrote them."""
    lines: list[str] = []
    for kind, members in found["shown"].items():
        lines += ["", f"{kind}: {'none' if not members else ''}".rstrip()]
        for one in members:
            why = f" ({one['reason']})" if one["reason"] else ""
            read = "nothing read" if one["answer"] is None else f"read as {one['answer'][:60]!r}"
            score = "ungraded" if one["score"] is None else f"score {one['score']:g}"
            lines += [
                f"-- {score}{why}, {read}{', cut' if one['cut'] else ''}",
                f"   {one['prompt'][-200:]!r}",
                f"   {one['reply'][:400]!r}",
            ]
    return "\n".join(lines)


def find(name: str) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """(model to load, the run's recipe, the parts it brought) of a model, a run, or one of a run's policies beside the actor (RUN:NAME)."""
    from strop.directory import check_policy, good_checkpoints, held, last, one_of, read_about, remembered, task_of

    directory, which = one_of(name)
    if not any((directory / said).exists() for said in ("recipe.json", "program.json")):
        return name, None, {}
    from strop.saved import brought, method_of

    directory = last(directory)
    about, parts = read_about(directory), brought(directory)
    check_policy(directory, about)
    with suppress(ValueError):  # one that cannot be built here any more is still a model with a task
        parts |= {"method": method_of(directory)}
    about["recipe"] |= {"task": task_of(directory, about)}
    if not (good := good_checkpoints(directory, say)):
        raise Usage(
            f"{name} has no checkpoint that is whole, so there is nothing of it to evaluate. Go on with it: strop train --resume {name}. "
            f"The model it began with: strop eval {about['recipe']['model']}"
        )
    if (memory := getattr(parts.get("method"), "memory", None)) is not None:
        parts["held"] = memory.load(*remembered(good[-1]))
    return str(held(good[-1], which)), about, parts


def asked(args: argparse.Namespace, about: dict[str, Any] | None) -> Recipe:
    """What is asked and how it is written: the run's recipe with these flags. Other questions keep its way of writing prompts."""
    from strop.recipe import Recipe

    flags = recipes.given(args) | ({"task": args.task} if args.task else {})
    made = Recipe(**{**about["recipe"], "method": "grpo"}) if about else Recipe()
    if args.task or "data" in flags:
        made = Recipe(system=made.system, template=made.template, chat=made.chat, shots=made.shots)
    return recipes.settled(made, flags)


def asking(name: str) -> Any:
    """A mode by its name, or a sampler in a file."""
    from strop.seams.mode import mode

    return _theirs(name, "sampler", "footprint", mode)


def windowed(name: str) -> Any:
    """A window by its name, or one in a file."""
    from strop.seams.window import named

    return _theirs(name, "window", "next", named)


def _theirs(name: str, kind: str, has: str, known: Callable[[str], Any]) -> Any:
    from strop import own

    if (where := own.place(name)) is None:
        return known(name)
    made = own.one(where, kind, lambda value: hasattr(value, has))
    return made() if isinstance(made, type) else made


def measure(
    args: argparse.Namespace, model: str, recipe: Recipe, most: int, parts: dict[str, Any], about: dict[str, Any] | None
) -> dict[str, Any]:
    """A run is asked in its method's world. The oracle's beliefs, where the task states confidence targets, are those of the model it
    started from."""
    from strop.saved import feed_of
    from strop.seams.asked import named as asked_policies
    from strop.seams.sampler import as_taught
    from strop.seams.source import drawn
    from strop.seams.world import seated
    from strop.sense import asks
    from strop.tasks import place_of
    from strop.tasks import source as named

    other = bool(args.task or args.recipe_data)
    source = named(recipe.task_name()) if other or "source" not in parts else parts["source"]
    origin = about["recipe"]["model"] if about else model
    beside, asked_so = asked_policies(args.policy), dict[str, Any]()
    if args.sampler:
        made_so = asking(args.sampler)
        if (judge := asks(made_so)) not in ("", "actor", *beside):
            raise Usage(f"{args.sampler} asks the policy {judge!r}. Name it: --policy {judge}=MODEL_OR_RUN")
        own = getattr(parts.get("method"), "feed", None)
        asked_so["sampler"] = as_taught(made_so, feed_of(beside[judge].start) if judge in beside else own)
    drawn(source, "test", 0, 0)  # before the model: what is wrong with a file is said at once
    if getattr(source, "ungraded", False):
        if hasattr(source, "episode"):
            raise Usage(
                f"{source.name} holds conversations, and nobody grades a reply to them; what they cost stands in `strop report RUN`. Name "
                "questions: --task"
            )
        raise Usage(f"{source.name} holds pairs, and no row says which answer is right: a reply to it has no score. Name questions: --task")
    if args.picture is not None and not hasattr(source, "answers"):
        raise Usage(f"--picture draws confidence targets, and {source.name} states none. One that does: --task facts")

    from strop import calibration
    from strop.commands.live import Progress
    from strop.evaluate import HELD_OUT_SEED, as_trained, evaluate, shown
    from strop.others import others
    from strop.policies.causal import load
    from strop.records import Sampling
    from strop.seams.episode import Episodes
    from strop.seams.memory import only_read
    from strop.seams.part import written
    from strop.tasks.shots import show

    handle, policy, source = reached(args, model, recipe, source, most)
    if beside:
        made_for = recipe.but(seed=args.seed, slots=args.slots, cache=args.cache, device=_device(args))
        asked_so["others"] = others(beside, policy, made_for, Path())
    for each in asked_so.get("others", {}).values():
        each.engine.begin(-1)
    if "sampler" not in asked_so and "method" in parts:
        asked_so |= as_trained(parts["method"], source)
    elif (world := getattr(source, "world", None)) is not None:  # a reply alone would answer nothing there
        calls = FORMATS[args.calls]() if getattr(world, "tools", ()) else None
        asked_so = {
            "sampler": Episodes(turns=args.turns, max_tokens=most, observation=args.observation, calls=calls),
            "world": world,
        } | asked_so
    if (held := parts.get("held")) is not None:
        asked_so["remind"] = only_read(parts["method"].memory, held)
    if args.window:
        how: Any = asked_so.get("sampler")
        if not hasattr(how, "window"):
            raise Usage("--window: nothing answers here but with a score, so a reply is all there is to see")
        asked_so["sampler"] = replace(how, window=windowed(args.window))
    if (world := asked_so.get("world")) is not None:
        asked_so["world"] = seated(world, beside)
    for policy_of in (asks(asked_so.get("sampler")), *getattr(asked_so.get("world"), "asks", ())):
        if policy_of not in ("", "actor", *beside):
            raise Usage(f"an episode here asks the policy {policy_of!r}. Name it: --policy {policy_of}=MODEL_OR_RUN")
    sampling = Sampling(args.temperature, args.top_p, args.top_k)
    samples = 1 if args.temperature == 0 else args.samples
    with Progress("evaluate") as tell:
        seen: dict[str, Any] = {}
        work = evaluate(
            handle,
            source,
            args.tasks,
            samples=samples,
            sampling=sampling,
            max_tokens=most,
            stop=tuple(args.stop),
            tell=tell,
            look=lambda groups, scores: seen.update(groups=groups, scores=scores),
            **asked_so,
        )
        made = asyncio.run(work)
    task = source.name if place_of(recipe.task) is not None else recipe.task or source.name
    said = {"task": task, "max_tokens": most, "seed": args.seed}
    said |= {name: written(one) for name, one in asked_so.items() if name != "others"}
    said |= ({"policies": args.policy} if args.policy else {}) | made.summary()
    if args.sampler or beside:
        each = {"actor": handle, **asked_so.get("others", {})}
        spent = {name: one.engine.counters.to_json() for name, one in each.items()}
        said["cost"] = {name: {kind: n / made.tasks for kind, n in of.items() if n and kind != "copied"} for name, of in spent.items()}
    if (became := called(seen["groups"])) is not None:
        said["calls"] = became
    kinds, shares = shown(source, seen["groups"], seen["scores"], args.show)
    said["advice"] = advice(shares, most)
    if args.show:
        said["shown"] = {kind: [asdict(one) for one in members] for kind, members in kinds.items()}
    if policy is not None and hasattr(source, "answers"):
        lines = calibration.at_targets(made.values)
        tasks = {t.id: t for t in (source.task("test", HELD_OUT_SEED, i) for i in range(made.tasks))}
        first = policy if origin == model else load(origin, device=_device(args), chat=recipe.prompts)
        show(first.renderer, source, recipe.shots)
        believed = calibration.beliefs(first, source, [*tasks.values()])
        said["targets"] = [asdict(line) for line in lines]
        said["oracle"] = [asdict(line) for line in calibration.oracle(believed, (line.target for line in lines))]
        said |= {"oracle_model": origin, "rises": calibration.rises(lines), "reliability": calibration.reliability(believed)}
    return said


def reached(args: argparse.Namespace, model: str, recipe: Recipe, source: Any, most: int) -> tuple[Handle, Any, Any]:
    """The model behind the engine that the flags name, ready to be asked; its policy, None at an endpoint; and the source, whose tasks
    leave room for `most` tokens."""
    from strop import engines
    from strop.engines import remote
    from strop.loop import roomy
    from strop.policies.causal import load
    from strop.seams.context import Handle
    from strop.tasks.shots import shots, show

    policy = None
    if args.engine.partition(":")[0] == "remote":
        if recipe.chat:
            raise Usage("a remote endpoint writes the chat itself, so --chat would change nothing there. Evaluate the model's directory.")
        examples = shots(source, recipe.shots)("") if recipe.shots else ()
        handle = remote.handle(args.engine, model, args.seed, recipe.system, examples)
    else:
        policy = load(model, device=_device(args), chat=recipe.prompts)
        show(policy.renderer, source, recipe.shots)
        source = roomy(source, policy, most, recipe.longest_prompt)
        with_flags = recipe.but(engine=args.engine, seed=args.seed, slots=args.slots, cache=args.cache)
        handle = Handle(engines.build(policy, with_flags), policy.renderer)
    handle.engine.begin(-1)
    return handle, policy, source


def _device(args: argparse.Namespace) -> str:
    import torch

    return args.device if args.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
