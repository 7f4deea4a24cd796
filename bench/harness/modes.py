"""Peers that can be run in several modes: which of them work here, and rows against the best of them."""

from dataclasses import dataclass
from typing import Callable

from harness.errors import BenchError, ProgramError
from harness.process import rounds
from harness.row import best, others, row


@dataclass(frozen=True)
class Mode:
    """One way to run a peer."""

    name: str
    """The peer with its version, and the mode: a row's `peer_name`."""
    precision: str
    measure: Callable[[int], float]
    """Measures it once, given the number of the round."""


# Limits under which products of bf16 are emulated: a hundred times as slow as those of f32, and hours to measure.
WITHOUT_BF16 = ("avx2", "portable")


def compare(bench, work, unit, ours, modes, left_out=(), **more):
    """Measures ours (functions by precision) and the peers' modes in turn; rows as `against_best` makes them.

    Each side runs once before: what only its first run needs (a cold disk, a compiler) is over then, and a mode that
    fails is left out, which the rows say. `left_out` are those that cannot even be tried, with the reason.
    """
    modes = list(modes)
    emulated = [mode for mode in modes if mode.precision == "bf16" and bench.isa in WITHOUT_BF16]
    left_out = [*left_out, *(f"{mode.name}: {bench.isa} has no instruction for it" for mode in emulated)]
    peers, failed = usable([mode for mode in modes if mode not in emulated], bench.say)
    for measure in ours.values():
        measure(0)
    programs = {f"strata {precision}": measure for precision, measure in ours.items()}
    found = rounds(bench.runs, programs | {mode.name: mode.measure for mode in peers}, bench.say)
    yield from against_best(
        work,
        unit,
        {precision: found[f"strata {precision}"] for precision in ours},
        {mode: found[mode.name] for mode in peers},
        [*left_out, *failed],
        **more,
    )


def usable(modes, say):
    """Tries each mode once: those that work, and for each of the others why not."""
    works, left_out = [], []
    for mode in modes:
        try:
            mode.measure(0)
            works.append(mode)
        except ProgramError as error:
            left_out.append(f"{mode.name}: {error.reason}")
            say(f"left out: {left_out[-1]}")
    if not works:
        raise BenchError(f"no mode of the peers works: {'; '.join(left_out)}")
    return works, left_out


def against_best(work, unit, ours, peers, left_out=(), **more):
    """Rows of ours (measurements by precision) against peers (measurements by mode).

    Each of ours is compared with the best mode of all, and with the best of its own precision where that is another
    one. Less is better.
    """
    names = {mode.name: measured for mode, measured in peers.items()}
    of_all = best(names)
    for precision, measured in ours.items():
        chosen = {of_all: "the best of all modes"}
        alike = {mode.name: names[mode.name] for mode in peers if mode.precision == precision}
        if alike:
            chosen.setdefault(best(alike), f"the best {precision} mode")
        for name, what in chosen.items():
            notes = [what, others(names, name, unit), *(f"left out: {why}" for why in left_out)]
            yield row(
                work,
                unit,
                measured,
                names[name],
                name,
                note="; ".join(filter(None, notes)),
                precision=precision,
                **more,
            )
