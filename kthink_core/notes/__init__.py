"""What people write about features, inferences and spans: one SQLite file a cache, which outlives the experiments.

`subjects` what is written about → `text` cleaned and measured → `notebook` kept and found again, in a `file` that
`schema` lays out; `labels` are those of features, of people and of sources; `lists` are sets of features.
"""

from kthink_core.notes.labels import Imported, Label, by_score
from kthink_core.notes.lists import FeatureList, FeatureLists
from kthink_core.notes.notebook import COLUMNS, FILE, Entry, Notebook, What, search
from kthink_core.notes.subjects import FeatureSubject, InferenceSubject, SpanSubject, Subject, identity, of_feature
from kthink_core.notes.text import LONGEST, RATINGS, clean

__all__ = [
    "COLUMNS",
    "FILE",
    "LONGEST",
    "RATINGS",
    "Entry",
    "FeatureList",
    "FeatureLists",
    "FeatureSubject",
    "Imported",
    "InferenceSubject",
    "Label",
    "Notebook",
    "SpanSubject",
    "Subject",
    "What",
    "by_score",
    "clean",
    "identity",
    "of_feature",
    "search",
]
