"""The machine that a row was measured on."""

import os
import platform
import resource
import subprocess
import sys
import time

# What the kernels of this project and of the peers choose their path by, in the kernel's spelling.
X86 = (
    "avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 avx_vnni "
    "amx_tile amx_int8 amx_bf16 amx_fp16"
).split()
ARM = "asimd asimdhp asimddp bf16 i8mm sve sve2 sme".split()


def machine():
    """The processor's model, the cores that this process may use, and the instruction sets that matter."""
    info = _cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": info.get("model name") or _fallback_model(),
        "cores": _cores(),
        "isa": " ".join([platform.machine(), *(name for name in X86 + ARM if name in flags)]),
    }


class Disturbance:
    """How busy the machine was with something else, from the making of this object on.

    A busy machine does not slow all programs alike: threads that wait for each other suffer most, so a ratio measured
    there is wrong and not just noisy.
    """

    def __init__(self):
        self._started = time.monotonic()
        self._others = _others_seconds()

    def share(self):
        """The share of all processors' time that other programs (and other guests of the host) took, from 0 to 1; None
        where the system does not say."""
        others = _others_seconds()
        if others is None:
            return None
        available = (time.monotonic() - self._started) * os.cpu_count()
        return min(1.0, max(0.0, (others - self._others) / available))


def _others_seconds():
    """Processor time that neither this process nor a child of it that has ended took, since the machine started."""
    try:
        with open("/proc/stat") as file:
            fields = file.readline().split()
    except OSError:
        return None
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return busy - sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpuinfo():
    """The first processor's lines of /proc/cpuinfo; nothing where there is no such file."""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read().split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _fallback_model():
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()
