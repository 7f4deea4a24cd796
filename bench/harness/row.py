"""One line of results."""

import datetime
import functools
import statistics
import subprocess

from harness.environment import ROOT
from harness.machine import machine


def row(
    work,
    unit,
    ours,
    peer,
    peer_name,
    higher_is_better=False,
    summary=statistics.median,
    note=None,
    **more,
):
    """A row from both sides' measurements; `summary` makes one number of them, `more` is added to the row.

    `ratio` is how many times better ours is, whichever direction is better.
    """
    ours_value, peer_value = summary(ours), summary(peer)
    ratio = ours_value / peer_value if higher_is_better else peer_value / ours_value
    found = {
        "work": work,
        "unit": unit,
        "ours": rounded(ours_value),
        "peer": rounded(peer_value),
        "peer_name": peer_name,
        "ratio": rounded(ratio),
        "ours_spread": [rounded(min(ours)), rounded(max(ours))],
        "peer_spread": [rounded(min(peer)), rounded(max(peer))],
        "runs": len(ours),
        **more,
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": machine(),
    }
    if note:
        found["note"] = note
    return found


def best(peers, higher_is_better=False, summary=statistics.median):
    """The name of the peer with the best summary, out of measurements by name."""
    choose = max if higher_is_better else min
    return choose(peers, key=lambda name: summary(peers[name]))


def others(peers, chosen, unit, summary=statistics.median):
    """A note with what the other peers gave."""
    rest = (name for name in peers if name != chosen)
    return "; ".join(f"{name}: {rounded(summary(peers[name]))} {unit}" for name in rest)


def rounded(value):
    """Four significant digits, more than any of the measurements is worth."""
    return float(f"{value:.4g}")


@functools.cache
def _commit():
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or None
