"""--log-to wandb, offline; read back from W&B's own files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from interrupted import interrupted

from cli_program import Program
from dnal.loggers.log import metrics_of
from dnal.loggers.names import LOGGERS
from dnal.run import read_result
from dnal.run.files import LOG

pytestmark = pytest.mark.slow
wandb = pytest.importorskip("wandb")

BLOCK = 2**15
WHOLE, LAST = 1, 4
"""Kinds of pieces of a record that end it."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def records_of(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then the log format of LevelDB, in blocks of 32 KiB."""
    data, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # too short for another piece
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE, LAST):
            yield record
            record = b""


def read(folder: Path) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """The id, the settings and the rows of a part of a run, from the file that `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    key, settings, rows = "", {}, []
    for data in records_of(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for update in (*record.config.update, *record.run.config.update):
            settings[update.key] = json.loads(update.value_json)
        key = record.run.run_id or key
        if record.HasField("history"):
            row = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            rows.append({name: json.loads(value) for name, value in row.items()})
    return key, settings, rows


def test_a_killed_run_goes_on_in_its_own_log(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted("wandb", monkeypatch)
    resumed = dnal("resume", "run", "--quiet")
    assert (resumed.status, resumed.out) == (0, "run\n"), resumed.err
    key = json.loads((here / "run" / LOGGERS).read_text())["wandb"]

    parts = [read(folder) for folder in sorted((here / "wandb").glob("offline-run-*"))]
    assert [part[0] for part in parts] == [key, key]
    assert (parts[0][1]["model"], parts[0][1]["budget"]) == ("vgg_small", "macs<=30%")
    rows = [row for _, _, rows in parts for row in rows]
    # An epoch whose checkpoint was lost is told twice.
    assert [row["trainer/global_step"] for row in rows] == [1, 2, 2, 3, 4, 5]
    records = [json.loads(line) for line in (here / "run" / LOG).read_text().splitlines()]
    for record, row in zip(records, [rows[0], *rows[2:5]], strict=True):
        told = {name: value for name, value in row.items() if not name.startswith(("_", "trainer/"))}
        assert told == pytest.approx(metrics_of(record))
    assert rows[-1]["result/compact_macs"] == read_result(here / "run")["compact"]["macs"]
