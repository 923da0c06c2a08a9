"""Claims by name. A claim stands in `strop.experiments`, under its method's name; here is only where to find it.

One in a Python file of the user's own is registered when that file is named: `strop claim run FILE.py`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.claims.claim import Claim

OWN = {
    "cdas-spread": "strop.experiments.cdas:SPREAD",
    "cdas-fixed-point": "strop.experiments.cdas:FIXED_POINT",
    "cdas-accuracy": "strop.experiments.cdas:ACCURACY",
    "treepo-saving": "strop.experiments.treepo:SAVING",
    "treepo-coverage": "strop.experiments.treepo:COVERAGE",
    "treepo-learning": "strop.experiments.treepo:LEARNING",
    "treepo-credit": "strop.experiments.treepo:CREDIT",
    "flowrl-tie": "strop.experiments.flowrl:TIE",
    "flowrl-diversity": "strop.experiments.flowrl:DIVERSITY",
    "intuitor-premise": "strop.experiments.intuitor:PREMISE",
    "intuitor-rows": "strop.experiments.intuitor:ROWS",
    "intuitor-online": "strop.experiments.intuitor:ONLINE",
    "intuitor-inverted": "strop.experiments.intuitor:INVERTED",
    "abstain-coverage": "strop.experiments.abstain:COVERAGE",
    "abstain-score": "strop.experiments.abstain:SCORE",
}
"""strop's own, {name: module:attribute}; imported when asked for."""
CLAIMS: dict[str, str] = {**OWN}
"""Those, and {name: FILE.py:attribute} of the files that were named."""


def claims_of(method: str) -> list[str]:
    """The claims about a method: those of its file's name in `strop.experiments`."""
    from strop.methods import METHODS

    file = METHODS[method].partition(":")[0].replace("strop.methods.", "strop.experiments.", 1)
    return [name for name, where in CLAIMS.items() if where.partition(":")[0] == file]


def of_file(file: Path) -> list[str]:
    """The claims that stand in a file of the user's own, registered by their names."""
    from strop.claims.claim import Claim
    from strop.own import imported

    module = imported(file)
    found = {value.name: f"{file.resolve()}:{key}" for key in dir(module) if isinstance(value := getattr(module, key), Claim)}
    for name, where in found.items():
        if CLAIMS.get(name, where) != where:
            raise ValueError(f"{file}: strop has a claim {name!r} already ({CLAIMS[name]}); give yours a name of its own")
    if not found:
        raise ValueError(f"{file} holds no claim: a value `Claim(...)` at its top level (docs/add-a-method.md)")
    CLAIMS.update(found)
    return list(found)


def named(name: str) -> Claim:
    from strop.seams.part import nearest

    if name not in CLAIMS:
        raise ValueError(f"no claim {name!r}. {nearest(name, CLAIMS)}")
    found = at(CLAIMS[name])
    if found.name != name:
        raise ValueError(f"{CLAIMS[name]} is named {found.name!r}, not {name!r}")
    return found


def at(where: str) -> Claim:
    """What stands at `module:attribute` or `FILE.py:attribute`: how a claim travels to another process."""
    from strop.own import MODULE, imported

    place, _, attribute = where.rpartition(":")
    if not place.endswith(".py"):
        return getattr(import_module(place), attribute)
    module = sys.modules.get(MODULE)
    if module is None or getattr(module, "__file__", None) != place:
        module = imported(Path(place))
    return getattr(module, attribute)
