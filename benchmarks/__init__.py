"""What is measured, against what. `python -m benchmarks.NAME` runs one; `make bench` runs them all."""

import kthink_core as kthink_core  # before torch: it says how torch's threads wait
