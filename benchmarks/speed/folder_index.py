"""What does it cost to find the images of a folder, and to take their fingerprint?

A folder of small images in class folders is made in a temporary place. In turn: dnal's index of its training part;
the index as it was before (`Path.rglob`, a stat and a sort of paths); torchvision's `ImageFolder`, which follows what
dnal's does; and the fingerprint, which opens every file and reads its content, with the names found as before
(`os.path.relpath`) and now. Microseconds of wall clock per file, files in the system's memory. Both indexes must give
the same files in the same order, both fingerprints the same bytes.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/folder_index.py
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from torchvision.datasets import ImageFolder

from dnal.data.fingerprint import _of_file
from dnal.data.images.folder import _files
from dnal.data.images.image_file import ENDINGS
from paired import machine, medians
from result_file import append_rows

FIELDS = (
    "files", "index_us", "before_us", "torchvision_us", "over_before", "over_torchvision", "fingerprint_us",
    "fingerprint_before_us", "fingerprint_over_before", "machine",
)  # fmt: skip


def made(root: Path, classes: int, images: int) -> tuple[str, ...]:
    """The names of the class folders."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (3, 9, 200)).save(file, "JPEG")
    names = tuple(f"n{number:08d}" for number in range(classes))
    for name in names:
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for number in range(images):
            (folder / f"{name}_{number * 37 % 99_991:05d}.JPEG").write_bytes(file.getvalue())
    return names


def before(folder: Path, names: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        found += sorted(f for f in (folder / name).rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--images", type=int, default=1000, help="of each class")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = made(root, options.classes, options.images)
        files, paths = _files(root, "train", names)[0], before(root / "train", names)
        assert [root / file for file in files] == paths

        def fingerprint() -> str:
            return hashlib.sha256(b"".join(_of_file(root, file) for file in files)).hexdigest()

        def fingerprint_before() -> str:
            return hashlib.sha256(b"".join(_of_file(root, os.path.relpath(path, root)) for path in paths)).hexdigest()

        assert fingerprint() == fingerprint_before()
        ways = {
            "index": lambda: _files(root, "train", names), "before": lambda: before(root / "train", names),
            "torchvision": lambda: ImageFolder(root / "train"), "fingerprint": fingerprint,
            "fingerprint_before": fingerprint_before,
        }  # fmt: skip
        seconds = medians(ways, options.repeats)
    row: dict[str, object] = {f"{name}_us": round(1e6 * own / len(files), 2) for name, own in seconds.items()}
    row |= {f"over_{name}": round(seconds["index"] / seconds[name], 3) for name in ("before", "torchvision")}
    row["fingerprint_over_before"] = round(seconds["fingerprint"] / seconds["fingerprint_before"], 3)
    print(append_rows(options.out, FIELDS, [{"files": len(files), **row, "machine": machine()}]))


if __name__ == "__main__":
    main()
