"""The bundled demo: a small model trained on generated word problems, its three SAEs, 32 held-out problems, texts.

The scripts that made them are the package `bundle` beside this one; README.md says how to run them, and what was
measured.
"""

from pathlib import Path

_HERE = Path(__file__).parent
MODEL = _HERE / "model"
SAES = _HERE / "saes"
PROBLEMS = _HERE / "problems.jsonl"
PLAIN_TEXTS = _HERE / "plain_texts.jsonl"
"""Texts without reasoning: questions of other problems, with answers as bypass mode gives them."""
PLANTED = _HERE / "planted"
"""An SAE of two features whose ground truth is known: 0 answers to a word, 1 needs its context."""
