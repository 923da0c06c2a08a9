"""The planner: what a recipe will need is known before anything is loaded."""

import json

import planner
import pytest
import torch

from strop.cli import main
from strop.commands import plan
from strop.forecast import Lengths, Meter, forecast
from strop.recipe import Recipe


@pytest.mark.full  # a process of its own measures itself
@pytest.mark.parametrize("name", planner.CASES)
def test_the_forecast_is_within_a_quarter_of_what_the_kernel_saw_and_never_a_tenth_below(name, tmp_path, measured):
    row = planner.compare(name, tmp_path)
    measured(planner.line(row))
    assert 0.9 <= row["forecast"] / row["measured"] <= 1.25, row


def test_a_meter_counts_what_is_alive_and_the_most_there_was():
    with Meter() as meter:
        kept = torch.zeros(1000)
        for _ in range(3):
            torch.zeros(5000)
    assert meter.now == kept.untyped_storage().nbytes() == 4000
    assert meter.peak == 4000 + 20000


@pytest.mark.slow  # a process of its own measures itself
def test_each_way_to_need_less_needs_less():
    base, lengths = Recipe(method="ppo", tasks=4, group=16, max_tokens=64, token_budget=4096), Lengths(24, 64)
    most = forecast(base, lengths)
    for change in ({"checkpointing": True}, {"token_budget": 1024}, {"slots": 16}, {"lora": 4}, {"method": "grpo"}):
        assert forecast(base.but(**change), lengths).peak < most.peak, change


def test_what_does_not_fit_is_said_with_the_setting_to_change(capsys, monkeypatch):
    monkeypatch.setattr(plan, "available", lambda on_gpu: 2**30)
    with pytest.raises(SystemExit):
        main(["plan", "--token-budget", "100000", "--tasks", "20", "--group", "64", "--max-tokens", "300", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert not said["fits"]
    assert "--token-budget" in said["advice"]
