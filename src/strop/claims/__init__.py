"""Claims by name. A claim stands in its method's file; here is only where to find it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.claims.claim import Claim

CLAIMS: dict[str, str] = {
    "cdas-spread": "strop.methods.cdas:SPREAD",
    "cdas-fixed-point": "strop.methods.cdas:FIXED_POINT",
}
"""{name: module:attribute}; imported when asked for."""


def claims_of(method: str) -> list[str]:
    """The claims that stand in a method's file."""
    from strop.methods import METHODS

    file = METHODS[method].partition(":")[0]
    return [name for name, where in CLAIMS.items() if where.partition(":")[0] == file]


def named(name: str) -> Claim:
    from strop.seams.part import nearest

    if name not in CLAIMS:
        raise ValueError(f"no claim {name!r}. {nearest(name, CLAIMS)}")
    module, _, attribute = CLAIMS[name].partition(":")
    found: Claim = getattr(import_module(module), attribute)
    if found.name != name:
        raise ValueError(f"{CLAIMS[name]} is named {found.name!r}, not {name!r}")
    return found
