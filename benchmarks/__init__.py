"""How fast it is: `python -m benchmarks [NAME...]`, or `make bench`. README.md says what is measured, and how."""
