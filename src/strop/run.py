"""Run: a recipe that is executed, and its directory. Killed at any instant, it goes on as if it had not been.

    create     a new one                     resume     the run as it was when it stopped
    at_step    in memory, as it was then     reopen     at its start, of the same parts

What stands in the directory: `strop.directory`. What a run does: `strop.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from strop import own
from strop.directory import (
    Recording,
    RunError,
    as_threaded,
    beginning,
    changed_since,
    check_data,
    check_lines,
    check_method,
    check_policy,
    check_recipe,
    commit_path,
    cut_metrics,
    good_checkpoints,
    keep,
    locked,
    plain,
    read_about,
    read_metrics,
    read_recipe,
    recorded_steps,
    versions,
    write_about,
)
from strop.loop import Begun, Run
from strop.method import Method
from strop.policies import gguf
from strop.policies.causal import CausalPolicy
from strop.recipe import Recipe
from strop.seams.part import part_id
from strop.tasks import place_of
from strop.tasks.shots import shown


def create(recipe: Recipe, directory: Path, **parts: Any) -> Run:
    """A new run in a directory that is not there yet."""
    recipe = recipe if parts.get("recording") else recipe.paced()
    with beginning(directory) as lock:
        run = Run(recipe, directory, **parts)
        run.lock = lock
        write_about(directory, _about(run, staged="begun" in parts))
    return run


def _about(run: Run, staged: bool) -> dict[str, Any]:
    """What recipe.json says of a run that begins."""
    recipe = run.recipe
    about: dict[str, Any] = {
        "recipe": plain(recipe),
        "resolved": {**recipe.describe(), "method": run.method.name, "parts": run.method.describe()},
        "method": run.method.to_json(),
        "fingerprint": {"method": run.method.fingerprint, "recipe": recipe.fingerprint},
    }
    about |= {"versions": versions(), "threads": torch.get_num_threads(), "grade": run.grade_of_bits}
    about["own"] = run.own
    if not isinstance(run.policy, CausalPolicy):
        about["policy"] = part_id(type(run.policy))
    about["files"] = keep(run.directory, own.files_of(recipe.method, run.source, at=place_of(recipe.task)))
    if run.past:
        about["past"] = [{"until": until, "steps": then.steps, "budget": then.budget} for until, then in run.past]
    if isinstance(recipe.method, Method):
        about["asked"] = recipe.method.to_json()
    if (told := getattr(run.source, "contents", None)) is not None:
        about["data"] = told()
    if read := gguf.origin(recipe.model):
        about["gguf"] = read
    if (stands := getattr(run.world, "stands", None)) is not None:
        about["sandbox"] = stands()
    if recipe.shots:
        about["shots"] = list(shown(run.policy.renderer))
    if run.recording is not None:
        about["replay"] = {"of": str(run.recording.directory.resolve()), "steps": run.recording.steps, "foreign": run.foreign}
    if staged:
        about["stage"] = asdict(run.begun)
    about["tripwires"] = [{"from_step": 0, **run.watch.describe()}]
    return about


def resume(
    directory: Path,
    say: Callable[[str], None] = print,
    method: Method | None = None,
    tripwire: str = "",
    longer: Mapping[str, Any] = MappingProxyType({}),
    **parts: Any,
) -> Run:
    """The run as it was when it stopped: the last good checkpoint, then the groups committed since.

    A method or source of the user's own has to be given again, as `saved.brought` rebuilds it from what the run kept. `tripwire` sets
    limits anew, on top of the recipe's; `longer` its `steps` or `budget`, from the first step on that is not committed.
    """
    about = read_about(directory)  # a place that holds no run says so before anything else
    if "policy" not in parts:
        check_policy(directory, about)
    lock = locked(directory)
    if longer:
        lengthen(directory, longer, say)
    run = reopen(directory, say, method, tripwire, **parts)
    run.lock = lock
    lines = len(read_metrics(directory))
    for path in (path for path in good_checkpoints(directory, say) if int(path.name) > lines):
        say(f"note: metrics.jsonl is torn after {lines} steps, so checkpoint {path.name} is not used and its steps are computed again.")
    if good := [path for path in good_checkpoints(directory) if int(path.name) <= lines]:
        run.restore(good[-1])
    cut_metrics(directory / "metrics.jsonl", run.step)
    found = read_metrics(directory)
    check_lines(directory, found)
    for one in run.pupils.values():
        one.watch.lines = one.lines(found)
        one.watch.resumed(run.record(run.step - 1) if run.step else None)
    about = read_about(directory)
    if not about["tripwires"] or {**about["tripwires"][-1], "from_step": 0} != {"from_step": 0, **run.watch.describe()}:
        about["tripwires"].append({"from_step": run.step, **run.watch.describe()})
        about["recipe"]["tripwire"] = run.recipe.tripwire
        write_about(directory, about)
    run.bill.forget()
    waiting = sum(run.commit_path(step).exists() for step in range(run.step, run.recipe.steps))
    say(f"resuming {directory} from step {run.step}; {waiting} later steps are committed and are computed again from their groups")
    return run


def lengthen(directory: Path, longer: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Another number of steps or another budget, from the first step on that is not committed; what was before stays as it was made."""
    about, done = read_about(directory), recorded_steps(directory)
    before = {name: about["recipe"][name] for name in ("steps", "budget")}
    after = {**before, **longer}
    if after == before:
        return
    if after["steps"] < done:
        raise RunError(f"{directory} has made {done} steps already, so it cannot end after {after['steps']}.")
    Recipe(**after)  # refused where it is none
    earlier = [entry for entry in about.get("past", ()) if entry["until"] < done]
    about["past"] = [*earlier, {"until": done, **before}]
    about["recipe"] |= after
    write_about(directory, about)
    if (held := directory / "eval" / "after.json").exists():
        held.rename(held.with_name(f"after-{done}.json"))
    said = ", ".join(f"{name} {before[name]} before, {after[name]} now" for name in before if before[name] != after[name])
    say(f"from step {done} on: {said}")


def past(about: Mapping[str, Any], recipe: Recipe) -> tuple[tuple[int, Recipe], ...]:
    """What a recipe was until which step, where it was made longer."""
    return tuple((entry["until"], recipe.but(steps=entry["steps"], budget=entry["budget"])) for entry in about.get("past", ()))


def at_step(
    directory: Path, step: int, say: Callable[[str], None] = print, method: Method | None = None, nearest: bool = False, **parts: Any
) -> Run:
    """The run in memory as it was when this step began; nothing on disk changes.

    The updates since the last checkpoint before it are computed again: all of them, where no such checkpoint was kept. With
    `nearest` none are, and the weights are those of the checkpoint closest to the step: another learner's than the one that drew it.
    """
    as_threaded(directory)
    run = reopen(directory, say, method, **parts)
    if not commit_path(directory, step).exists():
        last = recorded_steps(directory) - 1
        raise RunError(f"{directory} has no record of step {step}. " + (f"Its last is {last}." if last >= 0 else "No step was committed."))
    there = [path for path in good_checkpoints(directory, say) if nearest or int(path.name) <= step]
    best = min(there, key=lambda path: abs(int(path.name) - step), default=None)
    if best is not None and abs(int(best.name) - step) <= step:
        run.restore(best)
    where = "the starting weights" if run.step == 0 else f"checkpoint {run.step}"
    if nearest and run.step != step:
        say(f"step {step} under {where}, the nearest there is: log-probabilities are measured, and bridged to the recorded ones")
        run.step, run.foreign, run.own = step, True, False
        return run
    say(f"weights of step {step}: {where}, and {step - run.step} updates computed again from their groups")
    while run.step < step:
        run.advance()
    return run


def reopen(directory: Path, say: Callable[[str], None] = print, method: Method | None = None, tripwire: str = "", **parts: Any) -> Run:
    """The run of a directory at its start, made of the same parts, or refused where those are no longer the same."""
    about, recipe = read_recipe(directory, method)
    if "policy" not in parts:
        check_policy(directory, about)
    check_data(directory, about)
    if "stage" in about:
        parts["begun"] = Begun(**about["stage"])
    recipe = recipe.but(tripwire=",".join(filter(None, (recipe.tripwire, tripwire))))
    parts["past"] = past(about, recipe)
    if "replay" in about:
        parts["recording"] = Recording(Path(about["replay"]["of"]), about["replay"]["steps"], about["replay"]["foreign"])
    run = Run(recipe, directory, **parts)
    check_method(directory, about, run.method)
    check_recipe(directory, about, parts["past"][0][1] if parts["past"] else recipe)
    for file in changed_since(directory, about):
        say(f"note: {file} has changed since this run began; the run goes on with the copy it kept.")
    if about["threads"] != torch.get_num_threads():
        say(f"note: this run began with {about['threads']} threads and goes on with {torch.get_num_threads()}: bits may differ.")
    return run
