"""The bundled demo: a small model trained on generated word problems, its three SAEs, and 32 held-out problems.

The scripts that made them are the package `bundle` beside this one; README.md says how to run them, and what was
measured.
"""

from pathlib import Path

_HERE = Path(__file__).parent
MODEL = _HERE / "model"
SAES = _HERE / "saes"
PROBLEMS = _HERE / "problems.jsonl"
