"""What code may use, as data that a recipe keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["cell", "locks", "open"]
LEVELS: tuple[Level, ...] = ("cell", "locks", "open")
"""From the strongest to none."""

Ending = Literal["finished", "raised", "exited", "time", "memory", "output", "forbidden", "crashed", "lost", "differs"]
OURS = frozenset({"lost", "differs"})
"""Endings that say nothing of the code: the sandbox lost it, or a session told again answered otherwise."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of one piece of code, the modules it finds, and the weakest level it may run at."""

    modules: tuple[str, ...] = ()
    """Imported beforehand. Of modules outside the standard library these exist, and what stands beside them."""
    cpu: float = 5.0
    """Processor seconds of a piece."""
    wall: float = 20.0
    """Seconds from its start to its end, whatever it does."""
    memory: int = 512 << 20
    """Bytes of address space beyond what the zygote has mapped."""
    disk: int = 32 << 20
    """Bytes of its folder, which stands in memory; a file has half of it. At the level `locks` nothing can be written."""
    files: int = 1024
    """Files and folders in its folder."""
    output: int = 64 << 10
    """Bytes it may print; it is killed at more."""
    echo: bool = False
    """The value of a last expression is printed, as a notebook does."""
    recursion: int = 1000
    """Python's own limit of nested calls."""
    weakest: Level = "locks"
    """`open` is only ever what was asked for by this name."""

    def __post_init__(self) -> None:
        for name in ("cpu", "wall", "memory", "disk", "files", "output", "recursion"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Rules.{name} must be above 0, got {getattr(self, name)}")
        if self.output > 512 << 10:
            raise ValueError(f"Rules.output is at most {512 << 10} bytes, got {self.output}: answers are read whole")
        if self.weakest not in LEVELS:
            raise ValueError(f"Rules.weakest is one of {', '.join(LEVELS)}, got {self.weakest!r}")
        if isinstance(self.modules, str):
            raise ValueError(f"Rules.modules is several names, got the one text {self.modules!r}: write ({self.modules!r},)")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "modules": list(self.modules)}
