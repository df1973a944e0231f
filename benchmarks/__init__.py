"""What is measured, against what. `python -m benchmarks.NAME` runs one; `make bench` runs them all."""
