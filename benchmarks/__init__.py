"""How fast it is: `python -m benchmarks [NAME...]`, or `make bench`. README.md says what is measured, and how."""

CHROMIUM = "/usr/bin/chromium"
"""Debian's: the live views are measured in it, and tests/browser opens it."""
