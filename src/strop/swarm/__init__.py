"""Trainers that share graded rollouts, peer to peer: nobody coordinates, each has its own model, speed and life.

    message.py    what one shared group looks like, and every bound on it, checked before it is parsed
    families.py   a task by (family, version, seed, index), and that task again from one's own source
    exchange.py   what a trainer makes of what arrives: judged, counted by peer and by name, offered to its feed
    wires.py      how bytes travel: inside one process, or over zenoh, signed

The feed is `strop.seams.swarm`, the method `strop.methods.swarm`; docs/swarm.md says what is trusted and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.loop import Run
    from strop.recipe import Recipe


@contextmanager
def joined(run: Run, say: Callable[[str], None] = lambda said: None) -> Iterator[None]:
    """The run as a member of the swarm that its recipe names, until the block ends; as it is, where the recipe names none."""
    recipe = run.recipe
    if not recipe.swarm or run.recording is not None:
        if getattr(run.method.feed, "foreign", 0) and run.recording is None:
            say(f"{run.method.name} has nobody to share with: it trains on its own groups alone. Join others with --swarm NAME.")
        yield
        return
    from strop.evaluate import HELD_OUT_SEED
    from strop.swarm.exchange import Exchange
    from strop.swarm.wires import Network

    count = min(recipe.eval_tasks, run.source.size or recipe.eval_tasks)
    held_out = frozenset(run.source.task("test", HELD_OUT_SEED, at).id for at in range(count))
    with Network(recipe.swarm, run.directory, connect=listed(recipe.peer), listen=listed(recipe.listen)) as wire:
        at = f", reached at {recipe.listen}" if recipe.listen else ""
        say(f"swarm {recipe.swarm}: this trainer is {wire.id}{at}")
        run.exchange = Exchange(recipe.swarm, wire, held_out=held_out, past=run.past_swarm())
        yield


def said(line: Mapping[str, Any]) -> list[str]:
    """What became of others' groups, in a few words: one line in all, one for each peer of whom something was rejected."""
    about = line.get("swarm", {})
    if "peers" not in about:
        return []
    books: Mapping[str, Any] = about["peers"]
    drawn = sum(book["drawn"] for book in books.values())
    lines = [f"swarm {about['name']}: shared {about['published']} groups, heard of {len(books)} peers, trained on {drawn} of their groups"]
    for peer, book in books.items():
        if book["rejected"]:
            why = ", ".join(f"{name} {count}" for name, count in sorted(book["rejected"].items()))
            lines.append(f"  {peer}: rejected {why}; {book['quota']} places left")
    return lines


def check(recipe: Recipe) -> None:
    """Refuse a name or an address that cannot be, and a missing extra, before anything is loaded."""
    if recipe.swarm:
        from strop.swarm.wires import configured

        configured(recipe.swarm, listed(recipe.peer), listed(recipe.listen))


def listed(text: str) -> tuple[str, ...]:
    """
    >>> listed("tcp/10.0.0.2:7447, tcp/10.0.0.3:7447")
    ('tcp/10.0.0.2:7447', 'tcp/10.0.0.3:7447')
    """
    return tuple(filter(None, (piece.strip() for piece in text.split(","))))
