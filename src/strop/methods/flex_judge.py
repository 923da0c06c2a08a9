"""Flex-Judge (arXiv:2505.18601): a judge of what it can see, tuned on a thousand judgements of text.

    trace      somebody judges pairs of replies to questions in text, with reasons, and scores both
    tune       cross-entropy on the judgements that agree with the reference, the longest, each as another form asks for it

The policy sees images already and has judged none. What it learns from text is to give a reason before a verdict, and a reason is text
whatever was looked at; so any judge slot may ask it about images, in forms it was not tuned on: `Asked(RUN)`, `strop judge FILE --policy
judge=RUN`, with votes. Few judgements are the point: more text costs what it knew of images.

The cut to a thousand by length and the rewriting into forms are in the paper, not in the released scripts, which keep the longest of two
seeds' texts and stop there. Freezing the encoders is in the paper too; the code freezes nothing, and nothing reaches them.
"""

from strop.method import Method
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.recorded import Earlier
from strop.seams.reward import outcome
from strop.seams.signal import warmup_cosine
from strop.seams.traces import Written, agreeing, longest, reworded
from strop.seams.update import AdamW, Still
from strop.tasks.scenes import FIVE, PAIR, POINT

TRACE = Method("flex-judge-trace", paper="2505.18601", sampler=Written(), reward=outcome, credit=(), signals={}, update=Still(), tasks=64)
"""By a script where no policy is named: `sampler=Written(policy="writer")`, `policies={"writer": Asked("remote:…")}`."""

FLEX_JUDGE = SFT.but(
    "flex-judge-tune",
    paper="2505.18601",
    idea=("feed", "update"),
    feed=Earlier("trace", (agreeing(), longest(n=1000), reworded())),
    update=AdamW(lr=1e-5, betas=(0.9, 0.95), weight_decay=1e-4, schedule=warmup_cosine(warmup=0.05)),
    tasks=32,
)

SCENES = (PAIR, POINT, FIVE)
"""Forms of few words, which a small model reads."""

FLEX_JUDGE_SCENES = Program(
    "flex-judge",
    (
        Stage("look", SFT, steps(500), task="scenes:ask=taught", pace=10.0),
        Stage("trace", TRACE, steps(20), task="scenes:ask=scores"),
        Stage("tune", FLEX_JUDGE.but(feed=Earlier("trace", (agreeing(), longest(n=1000), reworded(forms=SCENES)))), rest(), task="scenes"),
    ),
    paper="2505.18601",
)
