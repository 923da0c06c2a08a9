"""WebResearcher (arXiv:2509.13309): an agent that writes a report each round and goes on from it alone, trained on every round.

    sample    a round sees the question, the last report and the last answer of the world; the policy writes the next report and an action
    credit    of a rollout's verdict against all rounds of its question: a rollout of n rounds is n samples of the mean and of the spread
    loss      one ratio per round, and the mean over a question's rounds: a rollout of n rounds weighs n
"""

from strop.methods.sft import SFT
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.window import Report

ROUNDS = Episodes(n=8, turns=26, max_tokens=24, observation=8, window=Report("r", most=12, limit=52))
"""Rounds of `stream`: a report holds the three facts that are asked for and a fourth, a row that and one output."""

IMITATED = SFT.but("sft-stream", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=ROUNDS, tasks=8)
