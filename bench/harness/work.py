"""A work: something that is measured for this project and for its peers."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable

from harness.environment import PEERS, ROOT, say


@dataclass(frozen=True)
class Work:
    name: str
    summary: str
    """One line for `--list`."""
    runs: int
    """How often each side is measured, unless told otherwise."""
    packages: tuple[str, ...]
    """The peers' packages, as requirements.txt names them."""
    measure: Callable[["Bench"], Iterable[dict]]
    """Measures and gives the rows."""


@dataclass(frozen=True)
class Bench:
    """What a work is given."""

    strata: Path
    engine: Path
    load: Path
    python: Path
    """Python with the peers' packages."""
    runs: int
    quick: bool
    isa: str | None = None
    """The instructions that both sides are limited to."""
    env: dict = field(default_factory=lambda: dict(os.environ))

    def peer(self, program, *arguments, python=None):
        """The command of a program in `bench/peers`; `python` where it is not that of the peers in common."""
        # Without -B, Python would write the peers' bytecode into the checkout.
        return [python or self.python, "-B", PEERS / program, *arguments]

    def recipe(self, name):
        return ROOT / "recipes" / f"{name}.toml"

    def say(self, line):
        say(f"  {line}")
