"""A job has no contact with anything outside of its machine: learn, load, report, export, sweep, with every logger."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dnal.base.telemetry import OFF
from watch import contacts, watched

LEARN = "learn --epochs 1,1,1 --limit-train 200 --quiet --out run"
PROGRAM = """
import sys
from dnal.cli import app

def call(line):
    try:
        app(line.split(), prog_name="dnal")
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"`{line}` ended with {ended.code}")

for line in sys.argv[1:]:
    call(line)
import dnal
dnal.load("run")
"""
SWEEP = "job: {epochs: '1,1,1', limit_train: 200}\ngrid: {seed: [0]}\n"


def lines(*lines: str) -> list[str]:
    return ["-c", PROGRAM, *lines]


def needs(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"no {package}")


def test_the_watch_sees_a_contact_of_any_kind(tmp_path: Path) -> None:
    """Addresses of documentation and of a resolver that is not there: nothing leaves for anybody."""
    program = """if True:
        import socket, subprocess, sys
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", ("127.0.0.1", 9))
            one.connect(("192.0.2.1", 443))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("127.0.0.53", 53))
        child = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'', ('2001:db8::1', 9))"
        subprocess.run([sys.executable, "-c", child], capture_output=True)
        """
    seen = watched(["-c", program], tmp_path)
    assert set(seen.contacts) == {"192.0.2.1:443", "127.0.0.53:53", "2001:db8::1:9"}, seen
    # A call that another process interrupts is written in two lines.
    assert contacts('7 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.7")}, 16') == [
        "192.0.2.7:80"
    ]
    assert contacts('7 connect(3, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = 0')


def test_nobody_hears_of_learning_a_report_an_export_and_loading(tmp_path: Path) -> None:
    needs("onnxruntime", "tensorboard")
    seen = watched(
        lines(f"{LEARN} --log-to tensorboard", "report run", "export run --to onnx", "export run --to pt2"), tmp_path
    )
    assert seen.status == 0, seen.out
    assert (tmp_path / "run" / "model.onnx").exists()
    assert seen.contacts == []
    # Nor is anything kept to be told later.
    assert not [path for path in (tmp_path / "home").rglob("*") if path.name in ("deviceid", "onnxruntime.db")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("logger", "environment"),
    [
        ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}),
        ("mlflow", {"MLFLOW_TRACKING_URI": "mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}),
        ("wandb", {"WANDB_MODE": "offline"}),
    ],
)
def test_nobody_hears_of_a_logger(logger: str, environment: dict[str, str], tmp_path: Path) -> None:
    needs(logger)
    # MLflow reports nothing where it takes itself to be tested.
    hidden = [name for name in os.environ if name.startswith(("CI", "GITHUB_", "GITLAB_"))]
    with pytest.MonkeyPatch.context() as patch:
        for name in hidden:
            patch.delenv(name)
        seen = watched(lines(f"{LEARN} --log-to {logger}"), tmp_path, environment=environment)
    assert seen.status == 0, seen.out
    assert "did not take a part" not in seen.out
    assert seen.contacts == []


@pytest.mark.slow
def test_nobody_hears_of_a_sweep(tmp_path: Path) -> None:
    needs("ray")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    seen = watched(["-m", "dnal", "sweep", "sweep.yaml", "--out", "study"], tmp_path)
    assert seen.status == 0, seen.out
    assert (tmp_path / "study" / "trial-0" / "result.json").exists()
    assert seen.contacts == []


def test_importing_anything_of_dnal_turns_telemetry_off_and_leaves_what_is_set() -> None:
    wanted = {"WANDB_ERROR_REPORTING": "true"}
    clean = {name: value for name, value in os.environ.items() if name not in OFF}
    program = f"import os, dnal.base.errors; print(*(os.environ[name] for name in {list(OFF)}))"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=clean | wanted, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == list((OFF | wanted).values())
