"""Files and folders of anybody's: every kind of damage that is tried, what it is tried on, and how it is watched."""
