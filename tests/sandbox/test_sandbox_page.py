"""What docs/sandbox.md shows runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "sandbox.md"


def test_the_example_prints_what_it_says(walled, capsys):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == f"{walled.level} finished 1024\n False\n"
