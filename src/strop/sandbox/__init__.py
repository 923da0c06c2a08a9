"""Executes Python that a model wrote, behind two walls of the kernel, in milliseconds: docs/sandbox.md."""

from strop.sandbox.box import Ran, Sandbox, Session
from strop.sandbox.cell import SandboxError
from strop.sandbox.held import Held, held
from strop.sandbox.rules import Level, Rules

__all__ = ["Held", "Level", "Ran", "Rules", "Sandbox", "SandboxError", "Session", "held"]
