"""Train a model: held-out evaluation, training, held-out evaluation again, and a record of all of it.

Examples:
    strop train                                    the bundled model, the default task, GRPO
    strop train --method rloo --task countdown --steps 100
    strop train recipe.toml --seed 3               a recipe from a .json, .toml or .py file
    strop train --method "my.py + treepo" --task riddles.py:Riddles     a method and a task of your own files
    strop train --resume runs/chain-grpo-1         go on with a run that was stopped
    strop train --resume runs/chain-grpo-1 --steps 80    with one that was finished
    strop train --method pathfinder-rl --policy prm=runs/judge      with the scores of another policy, a run or a model
    strop train --method doctoragent-rl --policy patient=remote:http://HOST:8000/v1:MODEL      with a patient behind an endpoint
    strop train --method dpo --data pairs.jsonl    learn from pairs: fields prompt, chosen, rejected
    strop train --method cascade                   stages one after another (docs/programs.md); --resume goes on with all of them
    strop train --method swarm --swarm home        share graded groups with others who say --swarm home
    strop train --track tensorboard --track wandb  the metrics there too (wandb: offline, unless WANDB_MODE=online)
    strop train --cluster local --replicas 2       rollouts on Ray actors, here or (auto, ray://HOST:PORT) on many machines
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop import durable, shape, swarm, tracking
from strop.cli import Interrupted, Usage, answer, say, table
from strop.commands import check, recipes

if TYPE_CHECKING:
    from strop.evaluate import Evaluation
    from strop.loop import Run
    from strop.method import Method
    from strop.program import Stage
    from strop.recipe import Recipe
    from strop.seams.asked import Asked
    from strop.staged import Staged

COOLER = (0.3, 0.6)
"""Temperatures, beside 1, at which the base is tried: what sharpening alone gives."""

STEP_OF_EVALUATION = -1
"""Keys the noise of evaluation, so that it never meets a training step's."""


def add(parser: argparse.ArgumentParser) -> None:
    about = "a .json, .toml or .py file (RECIPE = …, and SOURCE = … if it brings its own task)"
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=about)
    parser.add_argument("--out", metavar="DIR", help="the run's directory [runs/TASK-METHOD-N]")
    parser.add_argument("--resume", metavar="RUN", help="go on with this run, as its recipe says; --steps or --budget makes it longer")
    parser.add_argument("--unchecked", action="store_true", help="train parts of your own without looking at them (`strop check`)")
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="where a policy comes from that the method or the task's world asks: a model, a run, RUN:POLICY or remote:URL:MODEL; several",
    )
    where = parser.add_argument_group("where it runs (no part of the recipe: a run may go on elsewhere)")
    where.add_argument("--cluster", metavar="ADDRESS", help="sample on Ray: local, auto, HOST:PORT or ray://HOST:PORT [in this process]")
    where.add_argument("--replicas", type=int, metavar="N", help="engines on the cluster [one for each GPU, or CPU]")
    where.add_argument("--ranks", type=int, metavar="N", help="processes of the cluster that compute gradients [this process]")
    where.add_argument("--workers", type=int, metavar="N", help="processes that answer for the world [one beside each replica]")
    around = parser.add_argument_group("what is beside it (no part of the recipe)")
    around.add_argument(
        "--track",
        action="append",
        metavar="NAME",
        help=f"show the metrics in {', '.join(tracking.KINDS)}: one or several; a resumed run goes on with its own, `none` ends that",
    )
    recipes.add_flags(parser)


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    args.track = None if args.track is None else tracking.asked(args.track)
    if follows():
        return _follow(args)
    with ExitStack() as stack:
        run = _resumed(args, stack) if args.resume else _fresh(args, stack)
        from strop.staged import Staged

        return _staged(args, run, started) if isinstance(run, Staged) else _worked(args, run, started)


def several() -> bool:
    """Did torchrun start this process, as one of several?"""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def follows() -> bool:
    """Of several processes the first runs, and the others compute with it."""
    return several() and os.environ["RANK"] != "0"


def _follow(args: argparse.Namespace) -> int:
    from strop.learners import torchrun

    recipe = _recipe(args)
    with torchrun.session(recipe.device) as session:
        session.follow(recipe)
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    if not args.resume:
        return recipes.build(args)[0]
    from strop.directory import read_recipe
    from strop.saved import brought

    return read_recipe(Path(args.resume), brought(Path(args.resume)).get("method"))[1]


def _worked(args: argparse.Namespace, run: Run, started: float) -> int:
    directory = run.directory
    try:
        with stopping() as asked, swarm.joined(run, say), tracking.beside(directory, args.track, say) as mirrors:
            result, shown = work(run, started, asked, mirrors.step)
    except KeyboardInterrupt as stop:
        raise Interrupted(go_on(directory)) from stop
    except Exception as error:
        error.add_note(go_on(directory))
        raise
    answer(args, {**result, "trackers": mirrors.to_json()}, shown)
    return 0


def go_on(directory: Path) -> str:
    return f"Everything sampled is kept. Go on with:  strop train --resume {directory}"


def _staged(args: argparse.Namespace, program: Staged, started: float) -> int:
    """The stages one after another, and what came of them all."""
    try:
        with stopping() as asked:
            result, shown = work_through(program, started, asked)
    except KeyboardInterrupt as stop:
        raise Interrupted(go_on(program.directory)) from stop
    except Exception as error:
        error.add_note(go_on(program.directory))
        raise
    answer(args, result, shown)
    return 0


def _fresh(args: argparse.Namespace, stack: ExitStack) -> Run | Staged:
    recipe, parts = recipes.build(args)
    if args.track and recipe.program is not None:
        raise Usage("--track follows one run, and a program has one for each stage: `strop track RUN/1-NAME KIND` shows a stage's steps")
    directory = Path(args.out) if args.out else default_directory(recipe, parts)
    from strop.seams.source import drawn as task_of
    from strop.tasks import source

    if recipe.data and recipe.program is not None and all(one.task != recipe.task for one in recipe.each()):
        raise Usage(f"every stage of the program {recipe.program.name!r} has tasks of its own, so --data would be read by none")
    drawn = parts.get("source") or source(recipe.task_name())  # before the model: what is wrong with a file is said at once
    recipe = _asking(recipe, args.policy, drawn)
    check.before(recipe, drawn, unchecked=args.unchecked)
    placed = _placed(args, stack, recipe, parts)
    parts["source"] = drawn
    for split in ("train", "test")[: 1 + bool(recipe.eval_tasks)]:
        task_of(drawn, split, 0, 0)
    for one in recipe.each():
        _graded(one.resolved(), source(one.task_name()) if one.task != recipe.task else drawn)
    swarm.check(recipe)
    from strop import run as ordinary
    from strop import staged

    say(f"loading {recipe.model}")
    if recipe.program is not None:
        return staged.create(recipe, directory, say, **parts, **placed)
    run = ordinary.create(recipe, directory, **parts, **placed)
    if (told := getattr(run.source, "contents", None)) is not None:
        say(about_data(told()))
    return run


def _asking(recipe: Recipe, said: list[str], source: Any) -> Recipe:
    """The recipe with the policies that its method asks, or the world of its task, from where the command line says, by full paths: a run
    is resumed from anywhere. Of a program the worlds of its stages ask."""
    if not said:
        return recipe
    from strop.directory import one_of
    from strop.seams.asked import Asked, named
    from strop.seams.world import seated, world_of
    from strop.tasks import source as task_of

    found = dict[str, Asked]()
    for name, one in named(said).items():
        place, beside = one_of(one.start)
        found[name] = Asked(f"{place.resolve()}:{beside}".removesuffix(":")) if place.is_dir() else one
    program = recipe.program
    if program is None:
        return recipe.but(method=_beside(recipe.resolved(), found, source))
    worlds = [world_of(stage.method.environment, task_of(stage.task) if stage.task else source) for stage in program.plan]
    free = set.intersection(*({*getattr(world, "seats", ())} for world in worlds))
    if unknown := next((name for name in found if name not in free), None):
        known = (
            f"in the worlds of all its stages there is a place for: {', '.join(sorted(free))}"
            if free
            else "its worlds have no place for one"
        )
        raise Usage(
            f"{program.name} asks no policy {unknown!r}: {known}. Whom a method asks, a program's stages say it themselves: "
            "policies={NAME: Asked('stage:NAME')}"
        )
    there = {stage.name: seated(world, found) for stage, world in zip(program.plan, worlds, strict=True) if world is not None}

    def asking(stage: Stage) -> Method:
        return stage.method.but(policies={**stage.method.policies, **found}, environment=there[stage.name])

    return recipe.but(method=program.each(asking))


def _beside(method: Method, found: Mapping[str, Asked], source: Any) -> Method:
    """The method that asks these: it names them, or its world lets them in. A judge that a run was taught to be is asked as it was
    taught."""
    from strop.saved import feed_of
    from strop.seams.asked import Asked
    from strop.seams.part import nearest
    from strop.seams.world import seated, world_of
    from strop.sense import asks

    world = world_of(method.environment, source)
    known = [name for name, one in method.policies.items() if isinstance(one, Asked)]
    known += [name for name in (*getattr(world, "asks", ()), *getattr(world, "seats", ())) if name not in method.policies]
    for name in found:
        if name not in known:
            raise Usage(f"{method.name} asks no policy {name!r}. {nearest(name, known) if known else 'It asks nobody beside the actor.'}")
    graders = list[Any]()
    for grader in method.graders:
        name, judge = asks(grader), grader.constants.get("judge")
        taught = name in found and judge is not None and hasattr(judge, "taught")
        graders.append(grader(judge=judge.taught(feed_of(found[name].start))) if taught and judge is not None else grader)
    there = world if world is None else seated(world, found)
    brought: dict[str, Any] = {} if there is world else {"environment": there}
    return method.but(policies={**method.policies, **found}, graders=tuple(graders), **brought)


def _graded(method: Method, source: Any) -> None:
    """Refuse a method that reads what this task's grader does not give, before a model is loaded. One that fails is named by the run."""
    from strop import grading, sense
    from strop.records import Group, Rollout
    from strop.seams.recorded import Pairs, check

    if isinstance(method.feed, Pairs):
        check(source.task("train", 0, 0), source.name)
    elif getattr(source, "ungraded", False) and hasattr(source, "episode"):
        if getattr(method.feed, "text", "") != "episode":
            raise Usage(f"{source.name} holds conversations, and nobody grades a reply to them: imitate them, --method sft-messages.")
    elif getattr(source, "ungraded", False):
        raise Usage(
            f"{source.name} holds pairs and no answers, so no reply to its questions can be graded: learn from the pairs (--method dpo, "
            "mpo, rft), or give its rows an answer."
        )
    if sense.channels_read(method) <= sense.channels(method):
        return
    task = source.task("train", 0, 0)
    rollout = Rollout((), "gold", text=source.gold(task) or "")
    scores = asyncio.run(grading.grade(source, [Group(task, (rollout,))]))
    if scores.get(rollout, "outcome") is not None:
        sense.graded(method, scores.values[rollout.id])


def _resumed(args: argparse.Namespace, stack: ExitStack) -> Run | Staged:
    given = recipes.given(args)
    again = given.pop("tripwire", "")
    reached = {name: given.pop(name) for name in ("peer", "listen") if name in given}
    longer = {name: given.pop(name) for name in ("steps", "budget") if name in given}
    changed = [recipes.knobs()[name].flag for name in given] + ["--policy"] * bool(args.policy)
    if changed or args.recipe or args.out:
        refused = changed[0] if changed else "RECIPE or --out"
        raise Usage(
            f"--resume goes on with the run's own recipe, so it takes no {refused}, only --steps, --budget, --tripwire, --peer and "
            "--listen. Start a new run to change it."
        )
    from strop.run import resume

    directory = Path(args.resume)
    from strop.directory import PROGRAM, read_recipe
    from strop.saved import brought

    if (directory.parent / PROGRAM).exists():
        raise Usage(f"{directory} is a stage of the program {directory.parent}: go on with that, --resume {directory.parent}")
    parts = brought(directory)
    if (directory / PROGRAM).exists():
        from strop import staged

        if longer or again or reached or args.track:
            raise Usage("a program is gone on with as it was asked for: --resume takes no other flag there")
        whole = staged.recipe_of(directory, parts.get("method"))
        return staged.resume(directory, say=say, **parts, **_placed(args, stack, whole, parts))
    placed = _placed(args, stack, read_recipe(directory, parts.get("method"))[1], parts)
    run = resume(directory, say=say, tripwire=again, longer=longer, **parts, **placed)
    run.recipe = run.recipe.but(**reached)
    swarm.check(run.recipe)
    return run


def _placed(args: argparse.Namespace, stack: ExitStack, recipe: Recipe, parts: dict[str, Any]) -> dict[str, Any]:
    """The learner of several processes and the engine of a cluster, where they were asked for; they end with the command."""
    learner: dict[str, Any] = {}
    if several():
        from strop.learners import torchrun

        learner["learner"] = stack.enter_context(torchrun.session(recipe.device)).learner
    if args.cluster is None:
        if recipe.ahead:
            raise Usage(f"--ahead {recipe.ahead} samples while the learner computes, so it needs engines beside it: add --cluster local.")
        if asked := next((name for name in ("replicas", "workers", "ranks") if getattr(args, name) is not None), None):
            raise Usage(f"--{asked} counts actors of a cluster: add --cluster local (or auto, ray://HOST:PORT).")
        return learner
    from strop.cluster import Cluster, connected

    say(f"connecting to Ray ({args.cluster})")
    cluster = stack.enter_context(connected(Cluster(args.cluster, args.replicas, args.workers, args.ranks, parts.get("source"))))
    return {"learner": cluster.learner, **learner, "engine": cluster.front}


def about_data(about: dict[str, Any]) -> str:
    files = " and ".join(f"{name} (sha256 {digest[:12]}…)" for name, digest in about["files"].items())
    lines = [f"data: {files or 'rows'}: {about['rows']} rows, {about['train']} to train on, {about['test']} held out"]
    return "\n".join(lines + [f"  left out: {count} that {why}" for why, count in about["left_out"].items()])


def default_directory(recipe: Recipe, parts: dict[str, Any]) -> Path:
    """runs/TASK-METHOD-N, with the first N that is free; the method as it was asked for."""
    task = Path(recipe.data).stem if recipe.data else parts["source"].name if "source" in parts else recipe.task_name().partition(":")[0]
    asked = recipe.method if isinstance(recipe.method, str) else recipe.method.name
    name = re.sub(r"[^\w@.+-]+", "-", f"{task}-{asked}".replace(" + ", "+")).strip("-")
    number = 1
    while Path("runs", f"{name}-{number}").exists():
        number += 1
    return Path("runs", f"{name}-{number}")


@contextmanager
def stopping() -> Iterator[list[bool]]:
    """The first Ctrl-C inside a step lets it finish its writes; the next one, or one outside a step, stops at once.

    Gives [in a step, was asked].
    """
    state = [False, False]

    def asked(number: int, frame: Any) -> None:
        if not state[0] or state[1]:
            raise KeyboardInterrupt
        state[1] = True
        say("\nstopping after this step; Ctrl-C again stops at once")

    try:
        before = signal.signal(signal.SIGINT, asked)
    except ValueError:  # not the main thread: whoever owns it decides
        yield state
        return
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)


def _followed(run: Run, asked: list[bool], news: Callable[[], list[str]] = list) -> None:
    """Train it to its end, shown as it goes; stopped between two steps where that was asked for."""
    from strop.commands.live import Live
    from strop.directory import read_metrics

    def show(line: dict[str, Any]) -> None:
        live.first(run.directory)
        live.show(line)
        for said in news():
            live.above(said)
        if asked[1]:
            raise KeyboardInterrupt
        asked[0] = not run.finished

    with Live(run.recipe.steps, read_metrics(run.directory)) as live:
        asked[0] = not run.finished
        try:
            run.train(show=show)
        finally:
            live.first(run.directory)
        asked[0] = False


def work(run: Run, started: float, asked: list[bool], news: Callable[[], list[str]] = list) -> tuple[dict[str, Any], str]:
    """`news` is asked after each line for what else there is to say."""
    from strop.report import curve, page

    recipe, directory = run.recipe, run.directory
    what = f"{run.method.name} ({run.method.fingerprint}) on {_source_text(run)}, {recipe.model}"
    say(f"{directory}: {what}, {recipe.steps} steps, seed {recipe.seed}")
    before = _before(run, directory, run.step)
    say(tripwires(run))
    _followed(run, asked, news)
    after = _after(run, directory)
    result = assemble(run, before, after, time.perf_counter() - started)
    result["warnings"] = said_again(run)
    _end(directory, result)
    curve.write(directory, directory / "curve.png")
    page.write(directory, directory / "report.html")
    return result, text(result, run, before, after)


def _end(directory: Path, result: dict[str, Any]) -> None:
    from strop.records import finite

    durable.write(directory / "result.json", (json.dumps(finite(result), indent=2) + "\n").encode())


def work_through(program: Staged, started: float, asked: list[bool]) -> tuple[dict[str, Any], str]:
    """Evaluation, every stage that is left, evaluation again."""
    from strop.identity import ends
    from strop.report import curve, page
    from strop.report import program as report

    recipe, directory, plan = program.recipe, program.directory, program.program.plan
    what = f"{program.program.name} ({program.program.fingerprint}) on {_source_text(program.now)}, {recipe.model}"
    say(f"{directory}: program {what}, {len(plan)} stages, seed {recipe.seed}")
    before = _before(program.now, directory, program.step)
    for run in program.runs():
        stage = plan[len(program.done)]
        say(f"stage {len(program.done) + 1} of {len(plan)}, {stage.name}: {run.method.name}, {ends(stage)}")
        say(tripwires(run))
        _followed(run, asked)
        curve.write(run.directory, run.directory / "curve.png")
        page.write(run.directory, run.directory / "report.html")
    after = _after(program.now, directory)
    result = assemble(program.now, before, after, time.perf_counter() - started)
    result |= {"run": str(directory), "method": program.program.name, "fingerprint": program.program.fingerprint}
    result |= {"recipe": recipe.fingerprint, "model": recipe.model, "steps": program.step, "stages": report.stages(directory)}
    result["warnings"] = [f"{place.name}: {said}" for place in program.places for said in said_again_of(place)]
    _end(directory, result)
    curve.write(directory, directory / "curve.png")
    report.write(directory, directory / "report.html")
    held = text(result, program.now, before, after).splitlines()
    rows = table(*report.text(result["stages"])).splitlines()
    return result, "\n".join([held[0], "", *rows, *held[1:]])


def _source_text(run: Run) -> str:
    from strop.tasks import place_of

    if run.recipe.data:
        return Path(run.recipe.data).name
    if place_of(run.recipe.task) is not None:
        return run.source.name
    return run.recipe.task_name() if run.recipe.task or run.source.name == run.recipe.task_name() else run.source.name


def tripwires(run: Run) -> str:
    """Which are on, which are silent for want of which precondition, which were turned off."""
    about = run.watch.describe()
    lines = [f"tripwires: {len(about['limits'])} on"]
    lines += [f"  {name} is silent here: it needs that {' and '.join(needs)}" for name, needs in about["silent"].items()]
    lines += [f"  {name} is off" for name in about["off"]]
    return "\n".join(lines)


def said_again(run: Run) -> list[str]:
    """Every warning of the run, and the one that needs its siblings."""
    return said_again_of(run.directory) + [f"{tripwire.name}: {said}" for tripwire, said in run.watch.end()]


def said_again_of(directory: Path) -> list[str]:
    """Every warning on a run's lines."""
    from strop.directory import read_metrics

    lines = read_metrics(directory)
    return [f"step {line['step']}: {name}: {said}" for line in lines for name, said in line.get("warnings", {}).items()]


# Evaluation before and after: kept in the run's directory, so that a resumed run does not repeat it.


def _before(run: Run, directory: Path, step: int) -> dict[str, Evaluation]:
    path = directory / "eval" / "before.json"
    if path.exists():
        return _read(path)
    if not run.recipe.eval_tasks:
        return {}
    if step:
        say("note: the evaluation before training is missing and cannot be made now")
        return {}
    return _measure(run, path, "before", COOLER)


def _after(run: Run, directory: Path) -> dict[str, Evaluation]:
    path = directory / "eval" / "after.json"
    if path.exists():
        return _read(path)
    return _measure(run, path, "after", ()) if run.recipe.eval_tasks else {}


def _read(path: Path) -> dict[str, Evaluation]:
    from strop.evaluate import Evaluation

    return {name: Evaluation.from_json(data) for name, data in shape.read(path, shape.HELD_OUT).items()}


def _measure(run: Run, path: Path, when: str, cooler: tuple[float, ...]) -> dict[str, Evaluation]:
    """`sampled` at temperature 1, `greedy`, and the cooler temperatures with a quarter of the samples."""
    from strop.commands.live import Progress
    from strop.evaluate import as_trained, evaluate
    from strop.records import Sampling, canonical

    if getattr(run.source, "ungraded", False):
        found = {"told": _likelihood(run)} if hasattr(run.source, "episode") else {"pairs": _preferences(run)}
        durable.write(path, canonical({name: e.to_json() for name, e in found.items()}).encode())
        return found
    recipe, most = run.recipe, getattr(run.method.sampler, "max_tokens", 128)
    plan = [("sampled", 1.0, recipe.eval_samples), ("greedy", 0.0, 1)]
    plan += [(f"{t:g}", t, max(recipe.eval_samples // 4, 1)) for t in cooler]
    made: dict[str, Evaluation] = {}
    for handle in (run.handle, *run.others.values()):
        handle.engine.begin(STEP_OF_EVALUATION)
    for name, temperature, samples in plan:
        with Progress(f"evaluate {when}: {name if name in ('sampled', 'greedy') else 'temperature ' + name}") as tell:
            made[name] = asyncio.run(
                evaluate(
                    run.handle,
                    run.source,
                    recipe.eval_tasks,
                    samples=samples,
                    sampling=Sampling(temperature=temperature),
                    max_tokens=most,
                    grader_limit=recipe.grader_limit,
                    tell=tell,
                    others=run.others,
                    **as_trained(run.method, run.source, run.held),
                )
            )
    for one in run.pupils.values():
        one.engine.deliver(run.version)  # its cache is gone too: a resumed run finds the engine as this one does
    run.bill.forget()
    durable.write(path, canonical({name: e.to_json() for name, e in made.items()}).encode())
    return made


def _preferences(run: Run) -> Evaluation:
    """Of held-out pairs: is the better text likelier than the other, and by how many nats."""
    from strop.batch import pack
    from strop.evaluate import HELD_OUT_SEED, Evaluation
    from strop.seams.recorded import pair_of

    count, ctx = min(run.recipe.eval_tasks, run.source.sizes["test"]), run.context()  # type: ignore[attr-defined]  # a table
    tasks = [run.source.task("test", HELD_OUT_SEED, i) for i in range(count)]
    groups = [pair_of(task, f"held out/{i}", ctx) for i, task in enumerate(tasks)]
    batch = pack(groups, {}, {r.id: None for g in groups for r in g.rollouts}, run.version)
    tracks, _ = run.learner.evaluate(batch, frozenset({"logp_T"}))
    logp_R = batch.index.sum(tracks["logp_T"].double(), "token", "rollout").view(-1, 2)
    margin_G = (logp_R[:, 0] - logp_R[:, 1]).tolist()
    return Evaluation({"likelier": tuple(float(m > 0) for m in margin_G), "margin": tuple(margin_G)}, 1)


def _likelihood(run: Run) -> Evaluation:
    """Of held-out demonstrations, nobody's score: how many nats a token of theirs costs, by the feed that teaches."""
    from strop.batch import pack
    from strop.evaluate import HELD_OUT_SEED, Evaluation
    from strop.seams.world import world_of

    count, ctx = min(run.recipe.eval_tasks, run.source.sizes["test"]), run.context()  # type: ignore[attr-defined]  # a table
    tasks = [run.source.task("test", HELD_OUT_SEED, i) for i in range(count)]
    world = world_of(run.method.environment, run.source)
    groups = asyncio.run(run.method.feed.take(lambda n: tasks[:n], count, run.method.sampler, world, ctx, Counter()))
    batch = pack(groups, {}, {r.id: None for g in groups for r in g.rollouts}, run.version)
    tracks, _ = run.learner.evaluate(batch, frozenset({"logp_T"}))
    nats_R = -batch.index.mean(tracks["logp_T"].double(), "token", "rollout")
    return Evaluation({"nats a token": tuple(nats_R.tolist())}, 1)


UNSAMPLED = {"pairs": "likelier", "told": "nats a token"}
"""Evaluations that sample nothing, and what of each rises or falls."""


# What is said at the end.


def assemble(run: Run, before: dict[str, Evaluation], after: dict[str, Evaluation], seconds: float) -> dict[str, Any]:
    from strop.evaluate import rise

    result: dict[str, Any] = {
        "run": str(run.directory),
        "method": run.method.name,
        "fingerprint": run.method.fingerprint,
        "recipe": run.recipe.fingerprint,
        "task": _source_text(run),
        "model": run.recipe.model,
        "seed": run.recipe.seed,
        "steps": run.step,
        "seconds": round(seconds, 2),
        "before": summary(before),
        "after": summary(after),
    }
    if "sampled" in before:
        cooler = {name: e.mean("pass@1") for name, e in before.items() if name not in ("sampled", "greedy")}
        result["base_at_temperature"] = {**cooler, "1.0": before["sampled"].mean("pass@1")}
    side, name = next((one for one in UNSAMPLED.items() if one[0] in before), ("sampled", "pass@1"))
    if before and after and (gap := rise(before[side], after[side], name)):
        result["rise"] = {name: gap[0], "interval": list(gap[1])}
    result["bill"], result["memory"] = run.bill.total, peak_memory()
    if run.flight is not None:
        from strop.directory import read_metrics
        from strop.report import staleness

        result["ahead"] = staleness.tables(staleness.seen(read_metrics(run.directory)))
    return result


def peak_memory() -> int:
    """Bytes that this process had in memory at the most."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def summary(made: dict[str, Evaluation]) -> dict[str, Any] | None:
    if not made:
        return None
    if one := next((made[side] for side in UNSAMPLED if side in made), None):
        known = {name: list(found) for name in one.values if (found := one.interval(name))}
        return {**{name: one.mean(name) for name in one.values}, "interval": known, "tasks": one.tasks}
    said = made["sampled"].summary()
    said["greedy"] = made["greedy"].mean("pass@1")
    said["greedy_lenient"] = made["greedy"].mean("lenient")
    if found := made["greedy"].interval("pass@1"):
        said["interval"]["greedy"] = list(found)
    return said


def text(result: dict[str, Any], run: Run, before: dict[str, Evaluation], after: dict[str, Evaluation]) -> str:
    first, last = result["before"], result["after"]
    what = f"{result['method']} ({result['fingerprint']}) on {result['task']}, {result['model']}"
    lines = [f"{what}: {result['steps']} steps, {result['seconds']:.0f} s, {result['memory'] / 1e9:.1f} GB of memory at the most"]
    if last:
        names = ["pass@1", "pass@8", "greedy", "majority", "lenient", "length", "cut", "likelier", "margin", "nats a token"]
        rows = [[n, _with_interval(first, n), _with_interval(last, n)] for n in names if last.get(n) is not None]
        lines += ["", table(rows, ["held out", "before", "after"]), ""]
    if "rise" in result:
        low, high = result["rise"]["interval"]
        name = next(iter(result["rise"]))
        way = "change" if name == UNSAMPLED["told"] else "rise"
        lines.append(f"{way} of {name}: {result['rise'][name]:+.3f} [{low:+.3f}, {high:+.3f}]")
    if first and last and first.get("lenient") is not None:
        gaps = [(side["lenient"] or 0) - (side["mean"] or 0) for side in (first, last)]
        lines.append(f"right but not in the required form (lenient - strict): {gaps[0]:.3f} before, {gaps[1]:.3f} after")
    if "base_at_temperature" in result:
        tried = result["base_at_temperature"]
        best = max(tried, key=lambda t: tried[t] if tried[t] is not None else -1)
        lines.append(f"sharpening without training: pass@1 of the base at its best temperature ({best}) is {_number(tried[best])}")
    if run.flight is not None:
        from strop.directory import read_metrics
        from strop.report import staleness

        lines.append(staleness.text(staleness.seen(read_metrics(run.directory))))
    lines += [f"warning: {said}" for said in result["warnings"]]
    lines += swarm.said(run.watch.lines[-1]) if run.watch.lines else []
    place = result["run"]
    lines += ["", f"run     {place}", f"report  {Path(place, 'report.html')}", f"model   {_last_checkpoint(run.directory)}"]
    if not run.finished:
        lines.append(f"resume  strop train --resume {place}")
    return "\n".join(lines)


def _last_checkpoint(directory: Path) -> str:
    there = sorted(p for p in (directory / "checkpoints").iterdir() if p.name.isdigit())
    return str(there[-1]) if there else "-"


def _with_interval(side: dict[str, Any] | None, name: str) -> str:
    if side is None or side.get(name) is None:
        return "-"
    found = side["interval"].get(name)
    return _number(side[name]) + (f" [{_number(found[0])}, {_number(found[1])}]" if found else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
