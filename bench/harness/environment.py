"""What a benchmark needs before it can measure: the project's programs, the peers' packages, the data."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.errors import BenchError

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
PEERS = BENCH / "peers"

MNIST_FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


def say(line):
    """Tells the person at the terminal; standard output is for rows."""
    print(line, file=sys.stderr, flush=True)


def user_cache():
    """The project's folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "strata"


def build():
    """Builds `strata`, `strata-engine` and `strata-load` in release mode; their paths by name."""
    say("building strata, strata-engine and strata-load")
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics"]
    # All members at once: a part of them would be built with other features of the same libraries.
    command += ["--workspace", "--bins"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise BenchError("the build failed")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    programs = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message["executable"]
    }
    for name in ("strata", "strata-engine", "strata-load"):
        if name not in programs:
            raise BenchError(f"the build made no program named {name}")
    return programs


def pinned(own=None):
    """The peers' packages with the version that requirements.txt names, or the requirements of an environment of their own."""
    lines = (PEERS / _suffixed("requirements", own, ".txt")).read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def peers_python(packages):
    """Python in a virtual environment outside the checkout, where the missing ones of `packages` are installed first.

    The environment is `STRATA_BENCH_VENV`, by default `bench-venv` in the project's folder of the user's cache. A
    package that is there in another version stays, and a line says so.
    """
    return _python({name: version for name, version in pinned().items() if name in packages})


def own_python(own):
    """Python in the environment of a peer whose packages do not go with the others', beside that: `bench-venv-mlserver`
    with all of requirements-mlserver.txt."""
    return _python(pinned(own), own)


def _python(wanted, own=None):
    base = Path(os.environ.get("STRATA_BENCH_VENV") or user_cache() / "bench-venv")
    venv = base.with_name(_suffixed(base.name, own))
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"making a virtual environment in {venv}")
        _must([sys.executable, "-m", "venv", str(venv)], "cannot make the virtual environment")
    found = installed_versions(python, wanted)
    missing = [f"{name}=={wanted[name]}" for name in wanted if found[name] is None]
    if missing:
        say(f"installing {', '.join(missing)}")
        install = [str(python), "-m", "pip", "install", "--quiet", *missing]
        _must(install, "cannot install the peers' packages")
    for name, version in found.items():
        if version is not None and version != wanted[name]:
            say(f"note: {name} is {version} in {venv}, the requirements have {wanted[name]}")
    return python


def _suffixed(name, own, end=""):
    return f"{name}{own and f'-{own}' or ''}{end}"


def installed_versions(python, names):
    """The version of each package, None where it is missing."""
    program = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""
    command = [str(python), "-c", program, *names]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def mnist():
    """The folder with MNIST."""
    return _data_set("mnist", MNIST_FILES)


def cifar10():
    """The archive of CIFAR-10, in its binary form."""
    return _data_set("cifar10", [CIFAR10_ARCHIVE]) / CIFAR10_ARCHIVE


def _data_set(name, files):
    """The folder with a data set: in `STRATA_DATA`, then in the user's cache, as the program looks for it."""
    own = os.environ.get("STRATA_DATA")
    places = [Path(own)] if own else []
    places.append(user_cache() / "data")
    for place in places:
        if all((place / name / file).is_file() for file in files):
            return (place / name).resolve()
    looked = " and ".join(str(place / name) for place in places)
    raise BenchError(
        f"{name} is not in {looked}: expected {', '.join(files)}. Set STRATA_DATA to the folder that has {name}/, "
        f"or download it by `strata data fetch {name}`."
    )


def _must(command, failure):
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError(f"{failure}: `{' '.join(command)}` ended with {done.returncode}")
