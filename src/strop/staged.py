"""Staged: a program that is executed. Its directory holds an ordinary run per stage and program.json; killed at any instant, it goes on.

program.json     what was asked for, with fingerprints; the stages that are done, with what they left
own/             the user's files that it is made of, by hash
1-collect/ …     the runs
eval/            held-out results before and after
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop import directory as folder
from strop import durable, own, run
from strop.bill import spend
from strop.directory import HANDED, RunError, good_checkpoints, keep, plain, versions
from strop.loop import Begun, Run
from strop.program import INITIAL, LAST, Program, Share, When
from strop.recipe import Recipe
from strop.tasks import place_of


@dataclass(frozen=True)
class Done:
    """A stage that is over."""

    place: str
    """Its directory's name."""
    steps: int
    """It made."""
    bill: Mapping[str, int]
    """The program's, as it stood at its end."""
    checkpoint: str
    """Its last, beside program.json."""
    why: str
    """steps, budget, when: what ended it; `unrun` where nothing of the budget was left."""


class Staged:
    """A program's run. `now` is the stage's run that is on its way, `train()` takes it to the end."""

    def __init__(self, recipe: Recipe, directory: Path, say: Callable[[str], None], parts: Mapping[str, Any]):
        program = recipe.program
        assert program is not None
        self.recipe, self.directory, self.say, self.parts = recipe, directory, say, dict(parts)
        self.program: Program = program
        self.lock: durable.Lock | None = None
        self.about = _read(directory)
        self.now = self._open(len(self.done))

    @property
    def done(self) -> list[Done]:
        """The stages that are over, in order."""
        return [Done(**entry) for entry in self.about["done"]]

    @property
    def places(self) -> list[Path]:
        """The directories of the stages that were begun."""
        return folder.stages(self.directory)

    # What a claim asks of a run.

    @property
    def step(self) -> int:
        """Of the program: the steps of all its stages."""
        return self.now.number

    @property
    def spent(self) -> float | None:
        """The share of the whole budget that is spent."""
        if self.recipe.budget is None:
            return None
        count, unit = self.recipe.budget_in_positions
        return spend(self.now.bill.total, unit) / count

    @property
    def method(self) -> Any:
        return self.now.method

    @property
    def others(self) -> Any:
        return self.now.others

    @property
    def held(self) -> Any:
        return self.now.held

    @property
    def source(self) -> Any:
        return self.now.source

    @property
    def handle(self) -> Any:
        return self.now.handle

    @property
    def bill(self) -> Any:
        return self.now.bill

    @property
    def finished(self) -> bool:
        return len(self.about["done"]) == len(self.program.plan)

    def digest_weights(self, *, heads: bool = True) -> str:
        return self.now.digest_weights(heads=heads)

    def train(self, show: Callable[[dict[str, Any]], None] | None = None) -> None:
        """From here to the end of the last stage."""
        for stage in self.runs():
            stage.train(show=show)

    def runs(self) -> Iterator[Run]:
        """The run of each stage that is left, which whoever asks trains; what it left is written down before the next one begins."""
        while not self.finished:
            yield self.now
            if not self.now.finished:
                raise RunError(f"{self.now.directory} was left at step {self.now.step}, before its end")
            self._close(self.now)
            if not self.finished:
                self.now = self._open(len(self.done))

    def _open(self, number: int) -> Run:
        """The stage's run as it stands, or a new one; behind the last stage that one, at its end."""
        number = min(number, len(self.program.plan) - 1)
        stage, place = self.program.plan[number], self.directory / self.program.place(number)
        before = self.done[:number]
        bill = before[-1].bill if before else {}
        spent = spend(bill, self.recipe.budget_in_positions[1]) if self.recipe.budget is not None else 0
        model = self._model(number)
        made = sum(one.steps for at, one in zip(self.program.plan, before, strict=False) if isinstance(at.until, Share))
        recipe = self.recipe.stage(stage, spent, made, str(self.directory / model) if model else "")
        ends = stage.until if isinstance(stage.until, When) else None
        parts = {**self.parts, "ends": ends} if not stage.task else {**{k: v for k, v in self.parts.items() if k != "source"}, "ends": ends}
        if "policies" in parts:
            parts["policies"] = {name: one for name, one in parts["policies"].items() if name in stage.method.trained}
        if (place / "recipe.json").exists():
            return run.resume(place, say=self.say, method=stage.method, **parts)
        if number and not stage.task:  # the file of questions that the first stage read
            folder.check_data(first := self.directory / before[0].place, folder.read_about(first))
        shutil.rmtree(place, ignore_errors=True)  # a stage that was killed before it began
        return run.create(recipe, place, begun=self._begun(number), **parts)

    def _model(self, number: int) -> str:
        """The checkpoint that a stage begins with, from here; empty: the recipe's model."""
        if not number:
            return ""
        if (at := self._begins(number)) < 0:
            return HANDED if (self.directory / HANDED).exists() else ""
        return self.done[at].checkpoint

    def _begins(self, number: int) -> int:
        """The stage whose weights a stage begins with; -1 for those that the program began with."""
        begins, names = self.program.plan[number].begins, [stage.name for stage in self.program.plan[:number]]
        return -1 if begins == INITIAL else number - 1 if begins == LAST else len(names) - 1 - names[::-1].index(begins)

    def _begun(self, number: int) -> Begun:
        """What goes on from the stages before."""
        stage, before = self.program.plan[number], self.done[:number]
        counted = not isinstance(stage.until, Share)
        if not number:
            return Begun(counted=counted)
        last = self.directory / before[-1].checkpoint
        state = json.loads((last / "state.json").read_text())
        earlier = folder.read_about(self.directory / before[-1].place)
        reference = earlier["stage"]["reference"] or earlier["stage"]["model"] or earlier["recipe"]["model"]
        return Begun(
            number=sum(one.steps for one in before),
            bill=state["bill"],
            learned=state["learned"],
            ledger=state["ledger"],
            state={"curriculum": state["state"]["curriculum"]} if "curriculum" in stage.keeps else {},
            stages={one.name: done.place for one, done in zip(self.program.plan, before, strict=False)},
            optimiser=before[-1].checkpoint if "optimiser" in stage.keeps else "",
            reference=reference if "reference" in stage.keeps else "",
            model=self._model(number),
            policies=self._beside(number),
            counted=counted,
        )

    def _beside(self, number: int) -> dict[str, str]:
        """Where a stage's policies beside the actor were trained last, up to the stage whose weights it begins with, from here."""
        begins = self._begins(number)
        places = [HANDED, *(one.checkpoint for one in self.done[: begins + 1])]
        return {
            name: folder.place_beside(Path(place), name).as_posix()
            for name in self.program.plan[number].method.trained
            for place in places
            if folder.place_beside(self.directory / place, name).is_dir()
        }

    def _close(self, stage: Run) -> None:
        """Write down that a stage is over and what it left."""
        good = good_checkpoints(stage.directory, self.say)
        if not good or int(good[-1].name) != stage.step:
            stage.checkpoint()
            good = good_checkpoints(stage.directory, self.say)
        over = stage.spent is not None and stage.spent >= 1
        why = "unrun" if not stage.step else "budget" if over else "when" if stage.step < stage.until else "steps"
        checkpoint = good[-1].relative_to(self.directory).as_posix()
        entry = {"place": stage.directory.name, "steps": stage.step, "bill": stage.bill.total, "checkpoint": checkpoint, "why": why}
        self.about["done"].append(entry)
        _write(self.directory, self.about)
        if why == "unrun":
            self.say(f"stage {stage.directory.name} is not run: nothing of the budget is left for it")


def create(recipe: Recipe, directory: Path, say: Callable[[str], None] = lambda said: None, **parts: Any) -> Staged:
    """A new program in a directory that is not there yet."""
    program = recipe.program
    if program is None:
        raise ValueError(f"{recipe.method!r} is one method and no program: strop.run.create begins it")
    refuse(recipe, parts)
    with folder.beginning(directory, ("", "eval")) as lock:
        resolved = recipe.describe()
        tasks = dict.fromkeys(stage.task or resolved["task"] for stage in program.plan)
        about: dict[str, Any] = {
            "recipe": plain(recipe),
            "resolved": {**resolved, "task": ", then ".join(tasks)},
            "program": program.to_json(),
            "fingerprint": {"program": program.fingerprint, "recipe": recipe.fingerprint},
            "versions": versions(),
            "named": isinstance(recipe.method, str),
            "files": keep(directory, own.files_of(recipe.method, parts.get("source"), at=place_of(recipe.task))),
            "done": [],
        }
        if "policy" in parts:
            (directory / HANDED).mkdir(exist_ok=True)
            parts["policy"].export(directory / HANDED)
        for name, policy in parts.get("policies", {}).items():
            (place := folder.place_beside(directory / HANDED, name)).mkdir(parents=True, exist_ok=True)
            policy.export(place)
        _write(directory, about)
    made = Staged(recipe, directory, say, parts)
    made.lock = lock
    return made


def resume(directory: Path, say: Callable[[str], None] = print, method: Program | None = None, **parts: Any) -> Staged:
    """The program as it was when it stopped. One of the user's own has to be given again, as `saved.brought` rebuilds it."""
    about = _read(directory)
    lock = folder.locked(directory)
    recipe = recipe_of(directory, method)
    if (found := recipe.program) is None or found.fingerprint != about["fingerprint"]["program"]:
        raise RunError(
            f"{directory} was made by program {about['fingerprint']['program']}, and the same recipe gives "
            f"{found.fingerprint if found else 'none'} today. Resume it with the version named in its program.json, or start a new one."
        )
    if recipe.fingerprint != about["fingerprint"]["recipe"]:
        raise RunError(f"{directory / NAME} was changed since the program began: its recipe is another. Put the old values back.")
    refuse(recipe, parts)
    made = Staged(recipe, directory, say, parts)
    made.lock = lock
    return made


def recipe_of(directory: Path, method: Program | None = None) -> Recipe:
    """The recipe in program.json."""
    about = _read(directory)
    try:
        recipe = Recipe(**{**about["recipe"], "task": folder.task_of(directory, about)})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(f"{directory / NAME} cannot be read: {error}") from error
    if method is not None:
        return recipe.but(method=method)
    if not about["named"]:
        raise RunError(f"{directory} was made by a program of your own: give it again, as `saved.brought(directory)` rebuilds it.")
    return recipe


def refuse(recipe: Recipe, parts: Mapping[str, Any]) -> None:
    """What does not go together, in words, before anything is written."""
    program = recipe.program
    assert program is not None
    if recipe.swarm or recipe.ahead:
        beside = "a swarm" if recipe.swarm else "steps ahead"
        raise ValueError(f"{program.name!r} is a program: its stages are run one after another, without {beside}")
    for stage in program.plan:
        if "reference" in stage.keeps and set(parts) & {"learner", "policy"}:
            raise ValueError(f"stage {stage.name!r} keeps the reference, which only a learner in this process can, of a recipe's model")
        if "reference" in stage.keeps and stage.method.trained:
            raise ValueError(f"stage {stage.name!r} keeps the reference, which is not built yet where several policies are trained")
        if recipe.lora and (kept := set(stage.keeps) & {"optimiser", "reference"}):
            raise ValueError(f"stage {stage.name!r} keeps the {kept.pop()}; with LoRA a stage begins with new adapters on merged weights")
    for one in recipe.each():
        one.resolved()


NAME = folder.PROGRAM


def _read(directory: Path) -> dict[str, Any]:
    return folder.read_program(directory)


def _write(directory: Path, about: Mapping[str, Any]) -> None:
    durable.write(directory / NAME, (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())
