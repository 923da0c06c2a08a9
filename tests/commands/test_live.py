import re

from strop.commands.live import HEAD, SHOWN, Live

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def line(step: int) -> dict:
    return {"step": step, "reward": step / 100, "outcome": 0.25, "rollouts": 8, "length": 10.0, "grad_norm": 0.5, "t": {"seconds": 2.0}}


def test_the_table_on_a_terminal_keeps_the_last_steps_and_says_what_is_left(capsys):
    with Live(40, [line(n) for n in range(20)], terminal=True) as live:
        for n in range(20, 30):
            live.show(line(n))
    shown = [ESCAPE.sub("", text).split() for text in capsys.readouterr().err.split("step 30 of 40")[-1].splitlines()]
    assert shown[0][-4:] == ["about", "20", "s", "left"]
    assert list(HEAD) in shown
    steps = [int(row[0]) for row in shown if row and row[0].isdigit()]
    assert steps == list(range(30 - SHOWN, 30))
    assert next(row for row in shown if row and row[0] == "29")[1:3] == ["0.290", "0.250"]


def test_away_from_a_terminal_every_step_is_one_plain_line(capsys):
    with Live(3, terminal=False) as live:
        for n in range(3):
            live.show(line(n))
    head, *rows = capsys.readouterr().err.splitlines()
    assert head.split() == list(HEAD)
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    assert rows[0].split()[-1] == "40", "8 rollouts of 10 tokens in 2 seconds"
