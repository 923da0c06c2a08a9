"""A part: a pure function with its constants bound, that knows what it reads.

    clipped_surrogate(clip_low=0.2)                       a part: constants bound, data still missing
    clipped_surrogate(logp_T, old_logp_T, credit_T)       the function itself, called on data

Positional parameter names say what a part reads (`logp_T`, `reward_R`, `index`); keyword-only
parameters are its constants. A method refuses a part that reads what nobody provides.

Axes in names, each ragged over the batch; a decision is a token that somebody wrote, a row the segments of one context:

    _T decision   _W row   _R rollout   _G group
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from strop import own
from strop.records import canonical, digest
from strop.seams.body import hashed
from strop.seams.formula import UNITS, Formula, fill, number, placeholders, reread

OWN = "strop_recipe"
"""Before the id of a part that is not strop's."""


class PartError(ValueError):
    """What a part of the user's own raised."""


Grain = str
"""token (one decision), row, rollout, group."""

NEEDS = {
    "group": "two rollouts or more per group: it compares siblings",
    "one_update": "no second optimiser step on a batch: it has no ratio of now to old",
    "clip": "a second optimiser step before its clip is felt; a method whose whole idea is that clip is refused without one",
    "sampled": "a signal that trains actions: nobody sampled anything else",
    "reference": "the frozen initial weights, `reference=True`; said for readers, since reading `reference_logp_T` asks for them",
    "value": "a value head; said for readers, since reading `value_T` or `old_value_T` asks for it",
}
"""What a part may ask of the method beyond its arguments."""


@dataclass(frozen=True)
class Part:
    """A function and its bound constants; equal parts have equal descriptions."""

    fn: Callable[..., Any]
    """What it computes: data by position, constants by keyword."""
    bound: tuple[tuple[str, Any], ...] = ()
    """Constants that differ from their defaults."""
    version: int = 1
    """Of strop's own parts: raised when the body changes. A user's part has the hash of its body instead."""
    gives: str = ""
    """Names of what it returns, with commas between; a loss says its grain instead. A constant called `channel` is what a grader gives."""
    grain: Grain = "token"
    """What a loss has one number per: token, row, rollout or group."""
    needs: tuple[str, ...] = ()
    """What it asks of the method beyond its arguments, in the words of `NEEDS`, checked when the method is built."""
    formula: Formula = field(default="", compare=False)
    """What it computes, in the language of `seams/formula.py`: lines `name = expression`, where `{constant}` stands for a bound value;
    or a function of the constants that gives such lines, where they decide the form. Not part of the identity: the fingerprint is the
    constants', and the tests hold the formula to the code."""
    instead: tuple[tuple[str, str], ...] = ()
    """(a name of its own, what it reads in its place): see `reading`."""

    @property
    def name(self) -> str:
        """Its function's."""
        return self.fn.__name__

    @property
    def id(self) -> str:
        """Its name in saved methods, which says whose it is."""
        return part_id(self)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Names of what it takes by position."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        instead = dict(self.instead)
        return tuple(instead.get(p.name, p.name) for p in inspect.signature(self.fn).parameters.values() if p.kind in kinds)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Every constant with its value, defaults included."""
        parameters = inspect.signature(self.fn).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        return {**own, **dict(self.bound)}

    def __call__(self, *data: Any, **constants: Any) -> Any:
        """With data the function itself; without, the part with these constants bound."""
        if data:
            return self.fn(*data, **{**dict(self.bound), **constants})
        for name in constants:
            if name not in self.constants:
                raise ValueError(f"part {self.name!r} has no constant {name!r}. {nearest(name, self.constants)}")
        default = dataclasses.replace(self, bound=()).constants
        given = {**dict(self.bound), **constants}
        bound = tuple(sorted((k, v) for k, v in given.items() if default[k] != v))
        return dataclasses.replace(self, bound=bound, gives={**default, **given}.get("channel", self.gives))

    def reading(self, **instead: str) -> Part:
        """The same part on other data: `group_standardized.reading(reward_R="format_R")`."""
        mine = dataclasses.replace(self, instead=()).reads
        for name, other in instead.items():
            if name not in mine:
                raise ValueError(f"part {self.name!r} does not read {name}. {nearest(name, mine)}")
            if name[-2:] != other[-2:]:
                raise ValueError(f"part {self.name!r} reads {name}, one number per {_unit(name)}, and {other} is one per {_unit(other)}")
        made = dataclasses.replace(self, instead=tuple(sorted((dict(self.instead) | instead).items())))
        object.__setattr__(made, "__doc__", self.__doc__)
        return made

    def on(self, have: Mapping[str, Any]) -> Any:
        """Call it on what it reads, by name. What a part of the user's own raises says which part it is, and where."""
        try:
            return self.fn(*(have[name] for name in self.reads), **dict(self.bound))
        except Exception as error:
            if isinstance(error, PartError | MemoryError | FloatingPointError) or not own.is_own(self.fn.__module__):
                raise
            file, _ = own.stands(self.fn)
            where = f" ({file.name}, line {own.line_of(error, file)})" if file else ""
            raise PartError(f"part {self.name}{where}: {type(error).__name__}: {error}") from error

    def says(self) -> str:
        """What it computes, with its constants in; a bare call where its author gave no formula."""
        if self.formula:
            return reread(fill(self.formula, self.constants), dict(self.instead))
        given = self.gives or f"loss_{UNITS[self.grain]}"
        return f"{given.replace(',', ', ')} = {self.name}({', '.join((*self.reads, *(f'{k}={v!r}' for k, v in self.constants.items())))})"

    def help(self) -> str:
        """What `help(part)` shows: its constants, what it reads, gives and needs, its formula, and what its author says of it."""
        said = [written(self), f"reads {', '.join(self.reads)}"]
        said += [f"gives {self.gives.replace(',', ', ') or f'a loss per {self.grain}'}"]
        said += [f"needs {need}: {NEEDS[need]}" for need in self.needs]
        said += ["", *(f"    {line}" for line in self.says().splitlines())] if self.formula else []
        return "\n".join([*said, "", inspect.cleandoc(self.fn.__doc__ or "")]).rstrip()

    def signature(self) -> inspect.Signature:
        """Of its function, with the constants that are bound as defaults."""
        asked = inspect.signature(self.fn)
        held = [p.replace(default=self.constants[p.name]) if p.name in self.constants else p for p in asked.parameters.values()]
        return asked.replace(parameters=held)

    def describe(self) -> dict[str, Any]:
        said = {"part": self.id, "version": self.version, "with": describe(self.constants), **_body(self)}
        return {**said, "reading": dict(self.instead)} if self.instead else said

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.bound)}){self.reread}"

    @property
    def reread(self) -> str:
        return f".reading({', '.join(f'{k}={v!r}' for k, v in self.instead)})" if self.instead else ""

    def __hash__(self) -> int:
        return hash((self.id, self.version, self.bound, self.instead))


class _Asked:
    """An attribute that a part makes when somebody asks, and its class has as a class does."""

    def __init__(self, make: Callable[[Part], Any], *of_class: Any):
        self.make, self.of_class = make, of_class

    def __get__(self, one: Part | None, kind: type | None = None) -> Any:
        if one is None and not self.of_class:
            raise AttributeError("a class has its own")
        return self.of_class[0] if one is None else self.make(one)


Part.__doc__ = cast(Any, _Asked(Part.help, Part.__doc__))
Part.__signature__ = _Asked(Part.signature)  # pyright: ignore[reportAttributeAccessIssue]


def part(
    *, version: int = 1, gives: str = "", grain: Grain = "token", needs: tuple[str, ...] = (), formula: Formula = ""
) -> Callable[[Callable[..., Any]], Part]:
    """Make a function a part. Lambdas and closures are refused: they cannot be named, hashed or compared."""

    def wrap(fn: Callable[..., Any]) -> Part:
        unfit = {"lambda": fn.__name__ == "<lambda>", "bound method": inspect.ismethod(fn), "closure": getattr(fn, "__closure__", None)}
        for kind, found in unfit.items():
            if not found:
                continue
            raise ValueError(
                f"{fn.__qualname__} is a {kind}: it cannot be named, hashed or loaded again. A part is a function at module level whose "
                "constants are keyword-only parameters."
            )
        if gives.startswith("loss_"):
            level = next((level for level, letter in UNITS.items() if letter and gives == f"loss_{letter}"), "token")
            raise ValueError(
                f"{fn.__qualname__} gives {gives!r}: a loss says its grain alone, @part(grain={level!r}), and nothing that it gives"
            )
        for need in needs:
            if need not in NEEDS:
                raise ValueError(f"{fn.__qualname__} needs {need!r}, which no method can be asked for. {nearest(need, NEEDS)}")
        if grain not in UNITS or grain == "batch":
            raise ValueError(f"{fn.__qualname__} has the grain {grain!r}; a loss has one number per token, row, rollout or group")
        made = Part(fn, (), version, gives, grain, needs, formula)
        if isinstance(formula, str) and formula and placeholders(formula) != set(made.constants):
            raise ValueError(
                f"the formula of {fn.__qualname__} names the constants {sorted(placeholders(formula))}, but its keyword-only parameters "
                f"are {sorted(made.constants)}: what is printed must say all of them"
            )
        object.__setattr__(made, "__module__", fn.__module__)
        return made

    return wrap


def _unit(name: str) -> str:
    return next((level for level, letter in UNITS.items() if letter and name.endswith(f"_{letter}")), "batch")


def describe(value: Any) -> Any:
    """Plain JSON that says everything about a value: parts, frozen records, containers, numbers, words."""
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 and 1 are equal constants, so they are written alike
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Part):
        return value.describe()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if not unused(f, value)}
        return {"part": part_id(type(value)), "version": version_of(type(value)), "with": fields, **_body(type(value))}
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value)
        return {str(k): describe(v) for k, v in items.items()}
    if isinstance(value, list | tuple):
        members = cast(Iterable[Any], value)
        return [describe(v) for v in members]
    if isinstance(value, set | frozenset):
        unordered = cast(Iterable[Any], value)
        return sorted((describe(v) for v in unordered), key=canonical)
    raise ValueError(f"cannot describe {value!r}: a method holds parts, frozen records, numbers and words only")


def added(default: Any, *, shown: bool = True) -> Any:
    """A field that a record got when others of its kind had been saved: at its default it is not described, so fingerprints stand.
    One that is not `shown` is left out of the record's printed form."""
    held: dict[str, Any] = {"default_factory": dict} if default == {} else {"default": default}
    return field(**held, repr=shown, metadata={"added": True})


def unused(one: dataclasses.Field[Any], record: Any) -> bool:
    default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
    return "added" in one.metadata and getattr(record, one.name) == default


def part_id(thing: Part | type) -> str:
    """strop's own have short ids. Anybody else's say that they are, and not how their file was loaded: what tells two of one name apart is
    their body."""
    fn = thing.fn if isinstance(thing, Part) else thing
    return fn.__name__ if fn.__module__.startswith("strop.") else f"{OWN}.{fn.__qualname__}"


def version_of(thing: Part | type) -> int:
    return thing.version if isinstance(thing, Part) else getattr(thing, "VERSION", 1)


def body(thing: Part | type) -> str:
    """Hash of what it computes, with the helpers it calls."""
    return hashed(thing.fn, f"{thing.gives} {thing.grain}") if isinstance(thing, Part) else hashed(thing)


def _body(thing: Part | type) -> dict[str, str]:
    """A user's part has no version that anybody watches, so its syntax tree is part of what it is."""
    module = (thing.fn if isinstance(thing, Part) else thing).__module__
    return {} if module.startswith("strop.") else {"body": body(thing)}


def fingerprint(value: Any) -> str:
    return digest(describe(value))[:12]


def written(value: Any) -> str:
    """A part or record as it would be written in Python, with every constant it has, defaults included."""
    if isinstance(value, Part):
        given = (k if v is inspect.Parameter.empty else f"{k}={written(v)}" for k, v in value.constants.items())
        return f"{value.name}({', '.join(given)}){value.reread}"
    if hasattr(value, "words"):  # a reduction says itself shorter
        return value.words()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(f'{k}={written(v)}' for k, v in given)})"
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value)
        return f"{{{', '.join(f'{k}: {written(v)}' for k, v in items.items())}}}"
    if isinstance(value, tuple | list):
        members = cast(tuple[Any, ...], value)
        return f"({', '.join(written(v) for v in members)}{',' * (len(members) == 1)})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value).strip("()")
    return repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the closest known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"Known: {', '.join(names)}."
