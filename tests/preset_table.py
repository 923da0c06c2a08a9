"""docs/presets.md: what each method is, and how closely it was compared. `python tests/preset_table.py` prints the page (half a minute)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import presets
import trl_trainers

from strop.commands.lists import about
from strop.identity import written
from strop.method import Method
from strop.methods import ALIASES, METHODS, method

HEAD = """\
# Presets

This page is what `python tests/preset_table.py` prints; `tests/test_presets.py` compares them.

`grpo` is a name that every library gives to something of its own. A preset `method@library-version` is what that library computes by
default, read in the version named; its file in `src/strop/methods/` gives the lines read, what is left out and why. `strop explain NAME`
prints a preset's formula, `strop diff A B` how two differ. Rates, schedules and the number of updates per batch are the library's where
it gives any; tasks, rollouts per task and lengths are strop's.

## What each is
"""

COMPARED = """
## How closely it was compared

*Oracle*: `tests/oracles.py` writes each method again in numpy and loops over tokens, by hand down to the slope in every log-probability.
{batches} random batches: ragged rows, masked and forced tokens, restarted contexts, groups of one mind or of one rollout, weights,
rollouts that count only as siblings; old weights differ from the moving ones. *Mutants* are the method or the batch with one mistake each
(`MUTANTS` in `tests/presets.py` names them): all must differ from the oracle on some batch. *TRL*: its own trainers, from tokens and
rewards to loss and slopes (`tests/trl_trainers.py`), {batches} batches. Figures are largest differences, relative where above 1.
"""

OTHERS = """
The other libraries install neither small nor beside each other, so the suite does not hold them. Their own functions for credit and loss,
from the versions named, were run on the same batches as TRL's by `tests/peers.py`, which says how to repeat it; this is what it printed
(NeMo-RL adds 1e-8 to every count of tokens; Tinker's loss is a service, so its documents stand in for it):
"""


EDGES = """
## At the edges

What counts in a mean. Here a rollout without a trained decision counts nowhere: one that nobody could grade leaves its group, one that is
wholly masked (`MaskOverlong`, a correction) stays among its siblings for credit and is in no denominator. So a batch that lost some is as
one that never had them, and a fault of ours moves nobody's step. TRL 1.16 leaves a completion without a score out of its group's baseline
too, and keeps it in the denominators with an advantage of 0: the presets of its name follow it in all but that. With
`mask_truncated_completions` a masked completion adds nothing above the line and one below, in `loss_type` grpo and dr_grpo
(`tests/test_trl.py` holds both sides, of both). No preset masks at its library's defaults, and means over tokens (`grpo@trl`, `dapo`)
count no masked ones, so there both agree. TRL's own count is a reduction with constants:
`means(over("group", 32), over("rollout", 8), "token")`.

`dr-grpo` divides by 128, the longest reply of its sampler, as TRL's `dr_grpo` does by `max_completion_length`. The constant is the
method's and does not follow `--max-tokens`: a run of other lengths keeps the fingerprint's meaning, Adam does not feel the factor, and
`strop explain` says where the two differ. Where a second signal or a clip makes it felt, write it:
`.but(signals={"policy": ….but(reduce=means("group", "rollout", over("token", 512)))})`.
"""


def page() -> str:
    names = [name for name in METHODS if name in presets.MUTANTS]
    other = [[f"`{alias}`", f"`{name}`"] for alias, name in ALIASES.items()]
    parts = [HEAD, _table(["preset", "read in", "gate", "credit", "correction", "objective", "reduction", "KL"], map(_what, names))]
    parts += [COMPARED.format(batches=presets.BATCHES)]
    parts += [
        _table(["preset", "oracle: loss", "slope", "mutants killed", "TRL: loss", "slope", "against TRL with"], map(_compared, names))
    ]
    parts += [OTHERS, "```", (Path(__file__).parent.parent / "docs" / "peers.txt").read_text().strip(), "```", EDGES.rstrip()]
    return "\n".join([*parts, "\n## Other names\n", _table(["alias", "preset"], other)])


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _what(name: str) -> list[str]:
    one, policy = method(name), method(name).signals["policy"]
    read = re.search(r"Read in (\S[^:]*(?::\d{4}\.\d{5})?):", about(name))
    gate = ", ".join(written(g) for g in one.gate) or "—"
    cells = [gate, " → ".join(written(c) for c in one.credit), written(one.correction), written(policy.objective)]
    return [f"`{name}`", read[1] if read else f"arXiv:{one.paper}", *cells, policy.reduce.words(), _kl(one)]


def _kl(one: Method) -> str:
    inside = [f"in the reward: {written(c)}" for c in one.credit if "kl" in c.name]
    beside = [
        f"{s.weight} × {written(s.objective)}" for s in one.signals.values() if "kl" in s.objective.name or "drift" in s.objective.name
    ]
    return ", ".join(inside + beside) or "none"


def _compared(name: str) -> list[str]:
    loss, slope = presets.agreement(name)
    found = presets.kills(name)
    killed = f"{sum(batch is not None for batch in found.values())} of {len(found)}"
    if name not in trl_trainers.RIVALS:
        return [f"`{name}`", f"{loss:.0e}", f"{slope:.0e}", killed, "—", "—", "—"]
    rival, (their_loss, their_slope) = trl_trainers.RIVALS[name], trl_trainers.agreement(name)
    settings = ", ".join(f"{k}={v}" for k, v in rival.settings.items())
    remark = "; ".join(filter(None, (settings, rival.remark)))
    return [f"`{name}`", f"{loss:.0e}", f"{slope:.0e}", killed, "—" if rival.first else f"{their_loss:.0e}", f"{their_slope:.0e}", remark]


if __name__ == "__main__":
    print(page())
