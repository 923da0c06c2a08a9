"""gym: an environment of Gymnasium's, one process an episode: `act` is its step, its render or its observation what is read.

    Gym("FrozenLake-v1", (("is_slippery", False),))     act {"action": 2}   ->   the lake as text, the reward   ->   …   done

The episode's reward is the sum of its steps' (`outcome`), kept while it is not done. What is no action of its space is told and is no step.
`python -m strop.worlds.gym` is the program that each process is: `Command` speaks with it as with any other.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from strop.records import Task, canonical
from strop.seams.context import keyed
from strop.seams.world import Repeats, Seat, Tool
from strop.worlds.live import Live, Piped, begun

COLOUR = re.compile(r"\x1b\[\d+m([^\x1b\n]*)\x1b\[0m")
"""What a terminal would show in a colour: it stands in brackets."""
BEGINS = 30.0
"""Seconds to say what can be done in it."""


@dataclass(frozen=True)
class Gym(Live):
    """One of Gymnasium's."""

    id: str = ""
    """As `gymnasium.make` takes it; `MODULE:ID` imports that module first."""
    options: tuple[tuple[str, str | int | float | bool], ...] = ()
    """What else it takes."""
    says: str = ""
    """What it is about, told with the tool."""
    repeats: Repeats = "checked"
    """checked: it is seeded, so it is told again. no, where it does not keep to its seed."""
    deadline: float = 60.0
    """Seconds for one answer."""
    waiting: int = 64
    """Processes that wait at most."""

    @property
    def argv(self) -> tuple[str, ...]:
        return (sys.executable, "-P", "-m", "strop.worlds.gym", self.id, canonical(dict(self.options)))

    def tools(self, task: Task) -> tuple[Tool, ...]:
        """Its step, with the actions that it has."""
        schema = {"properties": {"action": _actions(self.argv)}, "required": ["action"], "additionalProperties": False}
        return (Tool("act", self.says or f"One step in {self.id}.", schema),)

    def begin(self, task: Task, seat: Seat) -> Piped:
        return begun(self.argv, task, seat)


@lru_cache(256)
def _actions(argv: tuple[str, ...]) -> Mapping[str, Any]:
    try:
        ran = subprocess.run([*argv, "--actions"], capture_output=True, timeout=BEGINS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise ValueError(f"Gym({argv[4]!r}) does not begin within {BEGINS:g} s") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines() or ["it ended"]
        raise ValueError(f"Gym({argv[4]!r}): {said[-1][:200]}")
    return json.loads(ran.stdout)


# ------------------------------------------------------------------------------------------- the program


def _schema(space: Any) -> dict[str, Any]:
    """An action space, as the schema of an argument."""
    from gymnasium import spaces  # pyright: ignore[reportMissingImports]

    if isinstance(space, spaces.Discrete):
        return {"type": "integer", "minimum": int(space.start), "maximum": int(space.start + space.n - 1)}
    if isinstance(space, spaces.Text):
        return {"type": "string", "minLength": int(space.min_length), "maxLength": int(space.max_length)}
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        whole = not isinstance(space, spaces.Box) or (space.dtype is not None and space.dtype.kind in "iub")
        made: dict[str, Any] = {"type": "integer" if whole else "number"}
        for size in reversed(space.shape):
            made = {"type": "array", "items": made, "minItems": int(size), "maxItems": int(size)}
        return made
    raise SystemExit(f"its actions are {type(space).__name__}, and what can be called is Discrete, MultiDiscrete, MultiBinary, Box or Text")


def _action(space: Any, value: Any) -> Any:
    """An argument, as the environment takes it; None where it is no action."""
    import numpy as np

    made = np.asarray(value, dtype=space.dtype) if space.shape else value
    return made if space.contains(made) else None


def _shown(env: Any, observation: Any, behind: str = "") -> str:
    """Its render as text, else what it observed."""
    import numpy as np

    def plain(one: Any) -> Any:
        if isinstance(one, np.ndarray | np.generic):
            return one.tolist()
        if isinstance(one, Mapping):
            return {str(key): plain(value) for key, value in one.items()}
        return [plain(each) for each in one] if isinstance(one, tuple | list) else one

    text = env.render() if env.render_mode == "ansi" else observation if isinstance(observation, str) else json.dumps(plain(observation))
    return COLOUR.sub(r"[\1]", f"{text}").replace("\x1b", "").strip("\n") + behind


def _live(name: str, options: dict[str, Any]) -> None:
    """Answers line by line, until nobody asks."""
    env = _made(name, options)
    answers, total, over = sys.stdout, 0.0, False
    sys.stdout = sys.stderr  # what an environment prints is no answer
    for line in sys.stdin:
        heard = json.loads(line)
        if "begin" in heard:
            begun = heard["begin"]
            observation, _ = env.reset(seed=begun["needs"].get("seed", keyed(begun["seat"][0], "gym").getrandbits(31)))
            prompt = begun["prompt"]
            answer: dict[str, Any] = {"show": f"{prompt}\n{_shown(env, observation)}" if prompt else _shown(env, observation)}
        else:
            told, calls = list[str](), list[list[Any]]()
            asked: list[dict[str, Any]] = heard["calls"] or [{"broken": "no call"}]
            for call in asked:
                action = None if "broken" in call else _action(env.action_space, call["arguments"]["action"])
                if action is None or over:
                    why = call.get("broken", "the episode is over" if over else "that is no action of it")
                    told.append(f"error: {why}")
                    calls.append([call.get("tool", ""), False, why])
                    continue
                observation, reward, terminated, truncated, _ = env.step(action)
                total, over = total + float(reward), bool(terminated or truncated)
                told.append(_shown(env, observation, f"\nreward {float(reward):g}"))
                calls.append(["act", True, ""])
            answer = {"observation": "\n".join(told), "done": over, "calls": calls, "facts": {"return": total}}
            answer |= {"scores": {"outcome": total}} if over else {}
        print(json.dumps(answer), file=answers, flush=True)


def _made(name: str, options: dict[str, Any]) -> Any:
    try:
        import gymnasium  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise SystemExit("it needs the module 'gymnasium': pip install 'strop[gymnasium]'") from None
    from gymnasium.envs.registration import load_env_creator  # pyright: ignore[reportMissingImports]

    found = gymnasium.spec(name)
    kind = found.entry_point if callable(found.entry_point) else load_env_creator(str(found.entry_point))
    modes = getattr(kind, "metadata", {}).get("render_modes", ())
    return gymnasium.make(name, **({"render_mode": "ansi"} if "ansi" in modes else {}), **options)


if __name__ == "__main__":
    try:
        if sys.argv[3:] == ["--actions"]:
            print(json.dumps(_schema(_made(sys.argv[1], json.loads(sys.argv[2])).action_space)))
        else:
            _live(sys.argv[1], json.loads(sys.argv[2]))
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
