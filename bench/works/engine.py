"""What the works of the engine share: `strata-engine`, PyTorch in its modes, and checks of both."""

import math
import statistics
from functools import partial

from harness import process
from harness.environment import user_cache
from harness.errors import BenchError
from harness.modes import Mode

PRECISIONS = ("f32", "bf16")

# For one process of a peer, compiling included: then it counts as one that does not work.
MOST_SECONDS = 300


def ours(bench, *arguments):
    """A run of `strata-engine`: the finished process and what it found."""
    finished = process.run([bench.engine, *arguments], env=bench.env)
    return finished, finished.last_json()


def isa(bench):
    """The instructions that ours uses."""
    return ours(bench, "isa")[1]["isa"]


def peer(bench, program, *arguments):
    """A run of a peer's program: the same of it."""
    command = bench.peer(program, *arguments)
    finished = process.run(command, env=peer_env(bench), timeout=MOST_SECONDS)
    return finished, finished.last_json()


def peer_env(bench):
    """The environment of a peer's program that may compile."""
    return bench.env | {
        # What torch.compile made for one process serves the next. It depends on the instructions.
        "TORCHINDUCTOR_CACHE_DIR": str(user_cache() / "bench-inductor" / (bench.isa or "all")),
        # Without workers of its own, whose time would count as a disturbance.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }


def torch_modes(torch_name, measure, layouts=("",)):
    """PyTorch in all modes; `measure` gets the options of the program for one, and the number of the round."""
    for precision in PRECISIONS:
        for layout in layouts:
            for compiled in ("", "compile"):
                words = [precision, layout, compiled and "compiled"]
                options = [f"--{option}" for option in (layout, compiled) if option]
                yield Mode(
                    name=f"{torch_name}, {' '.join(filter(None, words))}",
                    precision=precision,
                    measure=partial(measure, ["--precision", precision, *options]),
                )


def median_ms(found):
    return 1000 * statistics.median(found["seconds"])


def same_network(found, parameters):
    """What a program found, if its network has so many weights."""
    if found["parameters"] != parameters:
        raise BenchError(f"expected {parameters} weights, found {found['parameters']}")
    return found


def checked(found, parameters):
    """What a training found, if it was one of the network with so many weights, and it learned."""
    first, last = found["losses"]
    if not (math.isfinite(last) and last < first):
        raise BenchError(f"expected a loss that falls, found {first} and then {last}")
    return same_network(found, parameters)
