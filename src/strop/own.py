"""A Python file of the user's own, named on the command line: imported under one name, then and when its run is resumed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

MODULE = "strop_recipe"


def imported(file: Path) -> Any:
    """The file as a module. Its own mistakes come back as one sentence with the line."""
    spec = importlib.util.spec_from_file_location(MODULE, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        step, line = error.__traceback__, 0
        while step is not None:
            if step.tb_frame.f_code.co_filename == str(file):
                line = step.tb_lineno
            step = step.tb_next
        raise ValueError(f"{file}, line {line}: {type(error).__name__}: {error}") from error
    return module
