"""Sees every contact of a program with anything outside of this machine, whoever makes it: `strace` sees each system
call of every process that it starts, also of libraries and programs that are not Python."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
RESOLVER = re.compile(r'sun_path="[^"]*(?:resolve|nscd|sss/pipes)[^"]*"}, \d+\) = 0')
"""A service of this machine that looks names up elsewhere."""
NAMES = 53


@dataclass(frozen=True)
class Watched:
    """How a program ended, what it printed, and whom it contacted: addresses with their ports."""

    status: int
    out: str
    contacts: list[str]


def watched(arguments: list[str], folder: Path, *, environment: dict[str, str] | None = None) -> Watched:
    """Runs `python ARGUMENTS` in a folder, and all that it starts, with a home of its own, ``folder``/home."""
    trace, home = folder / "trace", folder / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTEST_"))}
    ended = subprocess.run(
        [*strace(), "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, *arguments],
        cwd=folder, env=kept | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    return Watched(ended.returncode, ended.stdout, contacts(trace.read_text(errors="replace")))


def contacts(trace: str) -> list[str]:
    """Whom the calls of a trace are to, except for this machine itself. A question for a name counts, whoever is
    asked."""
    found = []
    for line in trace.splitlines():
        if RESOLVER.search(line):
            found.append(line)
        for port, host in ADDRESS.findall(line):
            address = ipaddress.ip_address(host)
            mapped = getattr(address, "ipv4_mapped", None) or address
            if int(port) == NAMES or not (mapped.is_loopback or mapped.is_unspecified):
                found.append(f"{host}:{port}")
    return found


def strace() -> list[str]:
    """The command, where it can be used here; else the test is skipped."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("no strace")
    for options in (["--seccomp-bpf"], []):  # much quicker, where it is known
        trial = [program, *options, "-f", "-qq", "-e", "trace=connect", "-o", os.devnull, "true"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return [program, *options]
    pytest.skip("strace may not trace here")
