"""The machine as PyTorch sees it: processor, memory, threads, and where networks are trained."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from dnal.latency.backends.backend import cpu_name


def machine() -> dict[str, Any]:
    """system, processor, instructions (the widest that torch uses), cores (that this process may use), threads (of
    torch), OMP_NUM_THREADS (None if unset), memory_bytes (None where the system does not say)."""
    return {
        "system": platform.platform(),
        "processor": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "memory_bytes": _memory(),
    }


def devices() -> list[dict[str, Any]]:
    """name, kind (what it is), memory_bytes, and whether dnal trains on it by default. Those that torch
    sees; the last row is the CPU."""
    rows: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"compute capability {properties.major}.{properties.minor}, CUDA {torch.version.cuda}"
        rows.append(
            {
                "name": f"cuda:{index}",
                "kind": f"{properties.name}, {capability}",
                "memory_bytes": properties.total_memory,
            }
        )
    if torch.backends.mps.is_available():
        rows.append({"name": "mps", "kind": "Apple's GPU", "memory_bytes": _memory()})
    rows.append({"name": "cpu", "kind": cpu_name(), "memory_bytes": _memory()})
    return [{**row, "default": number == 0} for number, row in enumerate(rows)]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
