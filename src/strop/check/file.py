"""The exams of everything that a file of the user's own defines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from strop import own
from strop.check.claims import of_claim
from strop.check.finding import Finding
from strop.check.growing import of_behaviour
from strop.check.parts import of_method
from strop.check.sources import of_source
from strop.claims.claim import Claim
from strop.method import Method
from strop.recipe import Recipe
from strop.tasks import is_source


def of_file(file: Path) -> Iterator[Finding]:
    """Everything that a file of the user's own defines."""
    values = list(own.defined(own.loaded(file)).values())
    methods = [value for value in values if isinstance(value, Method)]
    methods += [value.method for value in values if isinstance(value, Recipe) and isinstance(value.method, Method)]
    sources = [value for value in values if is_source(value)]
    made = {type(value) for value in sources}
    first = next((value() if isinstance(value, type) else value for value in sources), None)
    for method in dict.fromkeys(methods):
        yield from of_method(method)
        yield from of_behaviour(method, source=first)
    for value in sources:
        if value not in made:  # a class whose instance stands there too is looked at once
            yield from of_source(value() if isinstance(value, type) else value)
    for claim in (value for value in values if isinstance(value, Claim)):
        yield from of_claim(claim)
