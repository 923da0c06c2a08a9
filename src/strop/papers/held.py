"""What strop has of a paper, as the code says it: the file that names it in its first line, the claims of that name, their records.

Nothing here imports a method: the list of all papers answers at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from strop.claims import OWN as CLAIMS
from strop.claims.record import shipped, verdicts
from strop.methods import METHODS, PROGRAMS
from strop.papers import CHECKED, Paper, catalogue

PACKAGE = Path(__file__).parent.parent
FIRST = re.compile(r'"""(?P<called>[^("]+) \((?:[^()]*, )?arXiv:(?P<id>\d{4}\.\d{4,5})\): (?P<about>.+)')
"""A method's file begins with `NAME (arXiv:ID): …`."""
STATES = ("here", "not-yet", "checklist")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Held:
    """One paper's places in strop."""

    stem: str
    called: str
    about: str
    methods: tuple[str, ...]
    """Names for `--method`."""
    verdicts: Mapping[str, str]
    """Of its claims, by name."""
    beside: tuple[str, ...] = ()
    """Further files of methods that are this paper's: an idea of its own each."""

    @property
    def name(self) -> str:
        return self.stem.replace("_", "-")

    @property
    def records(self) -> dict[str, Mapping[str, Any] | None]:
        """Of its claims, by name; None where one was not run."""
        made = shipped()
        return {name: made.get(name) for name in self.verdicts}

    @property
    def counted(self) -> dict[str, int]:
        """Verdicts and how many claims ended in each, the commonest first."""
        return dict(Counter(self.verdicts.values()).most_common())

    @property
    def places(self) -> dict[str, str]:
        """Its files, from the project's root."""
        tried = {stem_of(name) for name in self.verdicts}
        every = {"method": "src/strop/methods/{}.py", "experiments": "src/strop/experiments/{}.py", "page": "docs/methods/{}.md"}
        stems = {key: [stem for stem in (self.stem, *self.beside) if key != "experiments" or stem in tried] for key in every}
        return {key: ", ".join(every[key].format(stem) for stem in found) for key, found in stems.items() if found}


def stem_of(claim: str) -> str:
    """The file in `experiments`, and the page, where a claim stands."""
    return CLAIMS[claim].partition(":")[0].rpartition(".")[2]


@cache
def first_lines(place: Path = PACKAGE / "methods") -> dict[str, tuple[str, str, str]]:
    """{file's stem: (arXiv id, what the paper is called, what its file says of it)}."""
    found = {}
    for file in sorted(place.glob("*.py")):
        with file.open(encoding="utf-8") as lines:
            if said := FIRST.match(lines.readline()):
                found[file.stem] = (said["id"], said["called"], said["about"].strip().removesuffix('"""'))
    return found


@cache
def held() -> dict[str, Held]:
    """What strop has, by arXiv id. Of several files of a paper the one that its entry names comes first."""
    ended, names = verdicts(), {one: paper.name.replace("-", "_") for one, paper in catalogue().papers.items()}
    stems = dict[str, list[str]]()
    for stem, (paper, *_) in first_lines().items():
        stems.setdefault(paper, []).append(stem)
    found = dict[str, Held]()
    for paper, each in stems.items():
        stem, *beside = sorted(each, key=lambda stem: stem != names.get(paper))
        _, called, about = first_lines()[stem]
        named = ((name, where.partition(":")[0].rpartition(".")[2]) for name, where in {**METHODS, **PROGRAMS}.items())
        methods = sorted(((one, name) for name, one in named if one in each), key=lambda found: found[0] != stem)
        tried = {name: ended.get(name, NOT_RUN) for name in CLAIMS if stem_of(name) in each}
        found[paper] = Held(stem, called, about, tuple(name for _, name in methods), tried, tuple(beside))
    return found


def state(paper: Paper) -> str:
    """here: strop has a method of it; checklist: it asks something of a system, and has no more; not-yet: none so far."""
    return "here" if paper.id in held() else "checklist" if paper.kind in CHECKED else "not-yet"


def covered(paper: Paper) -> int:
    """Cells of its checklist that strop covers."""
    return sum(bool(cell.command) for cell in paper.checklist)


def formula(paper: Paper) -> str:
    """What its methods compute, as `strop explain` prints it; empty where strop has none."""
    from strop.identity import explain
    from strop.methods import named

    found = held().get(paper.id)
    each = [(name, explain(named(name))) for name in (found.methods if found else ())]
    return "\n\n".join(text if len(each) == 1 else f"{name}\n\n{text}" for name, text in each)
