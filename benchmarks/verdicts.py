"""Writes what the committed rows of studies say, as `dnal study` lists it.

python benchmarks/verdicts.py            # of all studies with rows in benchmarks/studies/
python benchmarks/verdicts.py depth      # of one
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.studies import STUDIES, verdicts
from dnal.studies.study import sized
from dnal.studies.table import read_rows, values_of

ROWS = Path(__file__).parent / "studies"
FOLDER = Path(verdicts.__file__).parent / verdicts.FOLDER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    for name in options.names or sorted(path.stem for path in ROWS.glob("*.csv")):
        rows = [values_of(row) for row in read_rows(ROWS / f"{name}.csv")]
        found = verdicts.described(name, sized(STUDIES.of(name), "small").study, rows)
        write_text(FOLDER / f"{name}.json", json.dumps(found, indent=1) + "\n")
        print(f"{name}: {found['verdict']}")


if __name__ == "__main__":
    main()
