"""Look at parts of your own before step 0: shapes, precision, noise, order, formula against code, splits, grading, measures.

Examples:
    strop check my.py                   everything that the file defines
    strop check my.py:MINE              one method, source or claim of it
    strop check "my.py + treepo"        a method, by any text that names one
    strop check grpo --all              strop's own parts too
    strop check rg:coin_flip            a task source by name: what reasoning-gym's grader pays for

`train`, `replay` and `claim run` do the same with parts of your own, once for each body they have (about a second).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop import own
from strop.cli import Usage, answer, say
from strop.commands import recipes
from strop.program import Program

if TYPE_CHECKING:
    from strop.check.finding import Finding
    from strop.claims.claim import Claim
    from strop.method import Method
    from strop.recipe import Recipe


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="WHAT", help="FILE.py, FILE.py:NAME, or a method or task as `strop train` takes them")
    parser.add_argument("--all", action="store_true", help="the parts of a method that are strop's too")


def run(args: argparse.Namespace) -> int:
    found = [finding for name in args.names for finding in of(name, args.all)]
    if not found:
        raise Usage(f"{' and '.join(args.names)}: nothing of your own stands there. `--all` looks at strop's parts too.")
    wrong = sum(finding.fine is False for finding in found)
    marks = {True: "ok  ", False: "BAD ", None: "note"}
    said = [f"{marks[f.fine]}  {f}" for f in found]
    said += ["", f"{wrong} of {len(found)} findings to mend" if wrong else f"{len(found)} findings, none to mend"]
    value = {"findings": [{"about": f.about, "says": f.says, "fine": f.fine} for f in found], "wrong": wrong}
    answer(args, value, "\n".join(said))
    return 1 if wrong else 0


def of(name: str, everything: bool = False) -> Iterator[Finding]:
    from strop.check.claims import of_claim
    from strop.check.file import of_file
    from strop.check.growing import of_behaviour
    from strop.check.parts import of_method
    from strop.check.sources import of_source
    from strop.claims.claim import Claim
    from strop.method import Method
    from strop.tasks import ADAPTERS, SOURCES, place_of, source

    if name.partition(":")[0] in (*SOURCES, *ADAPTERS):
        yield from of_source(source(name))
        return
    where = own.place(name) if " + " not in name else None
    if where is not None and not where.name:
        yield from of_file(where.near(None).file)
        return
    if where is not None:
        value = own.one(where.near(None), "method, source or claim", lambda value: True)
        if isinstance(value, Claim):
            yield from of_claim(value)
            return
        if isinstance(value, Program):
            for method in dict.fromkeys(stage.method for stage in value.plan):
                yield from of_method(method, everything)
                yield from of_behaviour(method, everything)
            return
        if not isinstance(value, Method) and place_of(name) is not None:
            yield from of_source(source(name))
            return
    method = recipes.method(name)
    yield from of_method(method, everything)
    yield from of_behaviour(method, everything)


def before(recipe: Recipe, source: Any = None, claims: Sequence[Claim] = (), unchecked: bool = False) -> None:
    """What of this is the user's own, before it is trained: what is wrong stops the command. Once for each content of its files."""
    from strop.check.claims import of_claim
    from strop.check.sources import of_grader, of_source
    from strop.records import digest
    from strop.tasks import source as named

    def shown(claim: Claim | None) -> Any:
        """A world answers to tasks of one kind: what is trained on here."""
        brought = {} if claim is None or claim.world is None else claim.world(claim.recipe, Path())
        return source or brought.get("source") or named(recipe.task_name())

    asked_for = [] if isinstance(recipe.method, str) else [(recipe.method, None)]
    asked_for += [(arm.method, claim) for claim in claims for arm in claim.arms]
    exams: list[tuple[str, Any, Callable[[], Iterator[Finding]]]] = []
    for one, claim in asked_for:
        for method in [stage.method for stage in one.plan] if isinstance(one, Program) else [one]:
            told = method.fingerprint if method.environment is None else digest([method.fingerprint, recipe.task_name()])
            exams.append((f"method {method.name} {told}", method, partial(_of_method, method, partial(shown, claim))))
    if source is not None:
        exams.append((f"source {recipe.task_name()}", source, lambda: of_source(source)))
    exams += [(f"claim {claim.name} {claim.fingerprint}", claim, lambda claim=claim: of_claim(claim)) for claim in claims]
    for what, thing, exam in exams:
        if unchecked or not (files := own.files_of(thing)):
            continue
        if wrong := remembered(what, [own.hashes(held) for held in files.values()], exam):
            way = "Nothing was trained. `strop check FILE.py` shows all that is looked at; --unchecked trains all the same."
            raise Usage("\n".join([*wrong, way]))
    for theirs in () if unchecked else others(source):
        if wrong := remembered(f"the grader of {theirs.name}: {theirs.graded_by}", [], lambda theirs=theirs: of_grader(theirs)):
            raise Usage("\n".join([*wrong, "Nothing was trained. Take another task; --unchecked trains all the same."]))


def _of_method(method: Method, shown: Callable[[], Any]) -> Iterator[Finding]:
    from strop.check.growing import of_behaviour
    from strop.check.parts import of_method

    yield from of_method(method)
    yield from of_behaviour(method, source=None if method.environment is None else shown())


def others(source: Any) -> list[Any]:
    """The sources among these whose grader is other people's code."""
    return [one for one in (source, *getattr(source, "sources", ())) if hasattr(one, "graded_by")]


def remembered(what: str, files: list[Any], exam: Callable[[], Iterator[Finding]]) -> list[str]:
    """What is wrong, by an exam that these files have passed before or sit now."""
    from strop import __version__, durable
    from strop.records import digest

    place = durable.cached("checked") / digest([what, files, __version__])[:32]
    if place.exists():
        return []
    say(f"checking {what.rpartition(' ')[0]}")
    wrong = [str(finding) for finding in exam() if finding.fine is False]
    if not wrong:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    return wrong
