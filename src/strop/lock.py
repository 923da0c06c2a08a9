"""The lock: a part's body may not change while its version stays. `python -m strop.lock` writes `parts.lock` anew; with names after
it, those may have another body that gives the same numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from strop.catalogue import own
from strop.seams.part import body, version_of

FILE = Path(__file__).with_name("parts.lock")


def locked() -> dict[str, tuple[int, str]]:
    """(version, hash) of every part of strop, as it stands."""
    return {name: (version_of(thing), body(thing)) for name, thing in own().items()}


def saved() -> dict[str, tuple[int, str]]:
    return {name: (version, hashed) for name, (version, hashed) in json.loads(FILE.read_text()).items()} if FILE.exists() else {}


def unbumped(before: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]) -> list[str]:
    """A sentence for each part whose body changed without a higher version."""
    return [
        f"{name}: its body changed, its version is still {version}. Give it version {before[name][0] + 1}, so that saved methods and old "
        "runs can tell, or take the change back."
        for name, (version, hashed) in now.items()
        if name in before and before[name][1] != hashed and version <= before[name][0]
    ]


def main(same: Sequence[str] = ()) -> int:
    """`same` are parts whose body changed and gives the numbers it gave at every constant it had: their author has shown that."""
    before, now = saved(), locked()
    wrong = [said for said in unbumped(before, now) if said.partition(":")[0] not in same]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(list(entry))}" for name, entry in now.items())
    FILE.write_text(f"{{\n{rows}\n}}\n")
    changed = [name for name in now if before.get(name) != now[name]]
    print(f"{FILE.name}: {len(now)} parts, {len(changed)} new or changed{': ' if changed else ''}{', '.join(changed)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
