"""Limits both sides to some of the CPU's instructions, to learn what a lesser CPU would give."""

import os
from types import MappingProxyType

from harness.errors import BenchError
from harness.machine import machine

# Environment variables for ours, for ATen, for oneDNN (PyTorch's and OpenVINO's), for MKL (which heeds it on Intel's
# CPUs only) and for what torch.compile tells the C++ compiler. `avx512` has products of bf16 where the CPU has them, but
# no AMX; for the compiler that is "native", since it makes no AMX of C++ by itself.
LIMITS = MappingProxyType(
    {
        "avx512": {
            "STRATA_ISA": "avx512",
            "ATEN_CPU_CAPABILITY": "avx512",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16",
            "MKL_ENABLE_INSTRUCTIONS": "AVX512_E3",
            "TORCHINDUCTOR_CPP_MARCH": "native",
        },
        "avx2": {
            "STRATA_ISA": "avx2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "TORCHINDUCTOR_CPP_MARCH": "haswell",
        },
        "portable": {
            "STRATA_ISA": "portable",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "TORCHINDUCTOR_CPP_MARCH": "x86-64",
        },
    }
)

NEEDS = MappingProxyType({"avx512": "avx512f", "avx2": "avx2"})


def limit(isa):
    """Limits the programs that this process starts from now on; None: to nothing, whatever was set before."""
    found = machine()["isa"].split()
    needed = NEEDS.get(isa)
    if needed and needed not in found:
        raise BenchError(f"--isa {isa} needs a CPU with {needed}, found {' '.join(found)}")
    for variables in LIMITS.values():
        for name in variables:
            os.environ.pop(name, None)
    os.environ.update(LIMITS.get(isa, {}))
