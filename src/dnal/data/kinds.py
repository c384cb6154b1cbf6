"""The kinds of data, by name."""

from __future__ import annotations

from dnal.data.events.kind import EventsOverTime
from dnal.data.graphs.kind import Graphs
from dnal.data.images.kind import Images
from dnal.data.kind import Kind
from dnal.data.restoration.kind import Restoration
from dnal.data.tables.kind import Tables
from dnal.data.text.kind import Text

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Images(), Tables(), Text(), Graphs(), Restoration(), EventsOverTime())
}
"""A new kind is a folder beside this file, and a line here. A file is of the last one that claims it."""
