"""Every statistic that is of this project's own making, or that has more than one meaning elsewhere: defined once."""

from __future__ import annotations

from kthink_core.errors import UnknownName
from kthink_core.ui.parts.causal_terms import CAUSES
from kthink_core.ui.parts.evidence_terms import EVIDENCE
from kthink_core.ui.parts.feature_terms import FEATURES
from kthink_core.ui.parts.phase_terms import PHASES
from kthink_core.ui.parts.quality_terms import QUALITY
from kthink_core.ui.parts.sentence_terms import SENTENCES
from kthink_core.ui.parts.steering_terms import STEERING
from kthink_core.ui.parts.sweep_terms import SWEEPS
from kthink_core.ui.parts.term import Term

GROUPS: dict[str, dict[str, Term]] = {
    "Where features fire": FEATURES,
    "How well the SAE describes what it is fed": QUALITY,
    "What features do": CAUSES,
    "How far to believe it": PHASES | EVIDENCE,
    "Steering": STEERING | SWEEPS,
    "Which sentences of a thought matter": SENTENCES,
}
"""By what they are about, as the page of the guide shows them."""
TERMS: dict[str, Term] = {name: term for group in GROUPS.values() for name, term in group.items()}
"""By name, as `help` takes it."""


def help(term: str) -> str:
    """Markdown for a tooltip: the term's definition with its formula. Raises UnknownName."""
    if term not in TERMS:
        raise UnknownName("term", term, TERMS)
    _, words, formula = TERMS[term]
    return f"{words}\n\n$$\n{formula}\n$$" if formula else words
