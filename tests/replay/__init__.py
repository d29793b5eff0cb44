"""The oracle: recorded behaviour of the real Kmesh programs, replayed against ours.

``wire`` knows the encodings of the vectors, ``node`` the programs under test, ``bench`` where traffic runs, ``job`` one
process per file and toolchain; each other module replays one kind of file. ``watch.c`` is what watches the hooks.
"""
