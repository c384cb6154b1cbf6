"""`python -m dnal`: the program `dnal`."""

from dnal.cli import main

main()
