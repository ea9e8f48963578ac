"""A command of `nest` in this process, a second faster than in its own, and what is asked of every refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


Here = Callable[..., Done]
"""`here("nodes", "list", folder, language="de")`"""


def check_said(done: Done, sentence: str) -> None:
    assert done.status == 2, done
    message, next_step, *more = done.stderr.strip().splitlines()
    assert sentence in message
    assert next_step.startswith("→ ")
    assert not more, "one sentence and one next step"
