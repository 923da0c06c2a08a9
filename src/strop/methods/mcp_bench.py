"""MCP-Bench (arXiv:2508.20453): how well an agent calls tools, scored by rules on its calls and by a judge in six dimensions.

The paper trains nothing. Its rules are `strop.seams.rules`, the judge of six dimensions, asked in another order each time, is
`strop.seams.rubric`. `MCP_BENCH` is what one would train on their strength: GRPO that pays a share for the five beside the outcome, the
process rewards of calls that are checked one by one.
"""

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.rules import depends, executed, fulfilled, valid_name, valid_schema
from strop.worlds.calls import Hermes, Line


@part(
    gives="reward_R",
    formula="reward_R = outcome_R + {process} * (name_R + schema_R + executed_R + depends_R + fulfilled_R) / 5",
)
def outcome_beside_calls(
    outcome_R: Tensor, name_R: Tensor, schema_R: Tensor, executed_R: Tensor, depends_R: Tensor, fulfilled_R: Tensor, *, process: float = 0.2
) -> Tensor:
    """The verdict, and a share for calls that are in order, whatever the verdict."""
    return outcome_R + process * (name_R + schema_R + executed_R + depends_R + fulfilled_R) / 5


GRADERS = (valid_name(), valid_schema(), executed(), depends(), fulfilled())

MCP_BENCH = GRPO.but(
    "mcp-bench",
    paper="2508.20453",
    idea=("sampler", "graders", "reward"),
    sampler=Episodes(n=8, turns=20, max_tokens=128, observation=128, calls=Hermes()),
    graders=GRADERS,
    reward=outcome_beside_calls(),
)

SHORT = Episodes(n=8, turns=8, max_tokens=40, observation=16, calls=Line())
"""Room for six calls of the bundled model's, an error and the last word."""
TAUGHT = SFT.but("sft-servers", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=SHORT)

MCP_BENCH_PROGRAM = Program(
    "mcp-bench-servers",
    (
        Stage("imitate", TAUGHT.but("sft-explicit", tasks=16), steps(150), task="servers:most=4", pace=10.0),
        Stage("reinforce", MCP_BENCH.but("mcp-bench-small", sampler=SHORT, tasks=8), rest(), task="servers:most=4,fuzzy=0.5"),
    ),
    paper="2508.20453",
)
