"""Labels of files taken into the notes, and written out of them again.

What a file says of features and hookpoints that do not exist is counted and named, and nothing of it is stored. A label
that tells no source has one by where it comes from: nothing that people wrote here is replaced.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kthink_core.config import Experiment
from kthink_core.errors import BadValue, UnknownName, short
from kthink_core.notes import Imported, Notebook, by_score, of_feature
from kthink_core.notes.text import LONGEST, shortened
from kthink_core.travel.label_files import Found, FoundLabel, Unread

_NAMED = 5
"""Of what was left out, so many are named."""


class Taken(NamedTuple):
    """What came of an import."""

    labels: int
    """Those that were written."""
    stood: int
    """Those that stood here already."""
    sources: tuple[str, ...]
    remarks: tuple[str, ...]
    """What was left out and why, and what was changed, a line each."""


@dataclass
class _Left:
    """What was left out: by reason, how many, and the names of the first."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, dict[str, None]] = field(default_factory=dict)

    def out(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        names = self.names.setdefault(reason, {})
        if len(names) <= _NAMED:
            names[name] = None

    def told(self) -> Iterator[str]:
        for reason, count in self.counts.items():
            names = [short(name) for name in self.names[reason]]
            more = ", …" if len(names) > _NAMED else ""
            yield f"{count:,} {'label is' if count == 1 else 'labels are'} {reason}: {', '.join(names[:_NAMED])}{more}"


def take_labels(
    notebook: Notebook,
    experiment: Experiment,
    found: Iterable[Found],
    places: Mapping[str, str],
    unnamed: str,
    author: str = "",
    *,
    write: bool = True,
) -> Taken:
    """Stores labels of features of an experiment's SAEs. `places`: hookpoints by what a file calls them; that of an
    empty name is taken for the one SAE whose name is no hookpoint. `unnamed`: the source of labels that tell neither
    source nor author. `author`: who takes them in; empty: whoever the file names. Without `write` nothing is stored:
    what would come of it is told.

    Of two labels of one source for one feature the one with the better score is taken, else the first. Raises
    UnknownName for a hookpoint of `places`; BadValue where several SAEs would be taken for one; and what reading and
    writing raises.
    """
    for hookpoint in places.values():
        if hookpoint not in experiment.saes:
            raise UnknownName("hookpoint", hookpoint, experiment.saes)
    left, cut, own_stood, seen = _Left(), 0, 0, set[str]()
    own: dict[str, dict[int, str]] = {}
    known = ", ".join(experiment.saes)
    said = "--hookpoint NAME=H, or the choice on the page, says what is what"
    unknown = f"of what the experiment does not have ({known}; {said})"
    taken: dict[str, dict[tuple[int, str], Imported]] = {}
    for label in found:
        if isinstance(label, Unread):
            left.out("no labels at all", f"{label.where} ({label.problem})")
            continue
        hookpoint = _hookpoint(label.place, experiment, places, seen)
        if hookpoint is None:
            left.out(unknown, label.place)
            continue
        if (reason := _refused(label, hookpoint, experiment)) is not None:
            left.out(reason, str(label.feature))
            continue
        text, source = shortened("imported", label.text), label.source or label.author or unnamed
        cut += len(text) == LONGEST["imported"] and text.endswith("…")
        if not label.source:
            if hookpoint not in own:
                own[hookpoint] = _own(notebook, experiment, hookpoint)
            if own[hookpoint].get(label.feature) == text:  # it came from here
                own_stood += 1
                continue
        one = Imported(
            label.feature, text, shortened("source", source), label.score,
            shortened("author", author or label.author),
        )  # fmt: skip
        of_hookpoint = taken.setdefault(hookpoint, {})
        there = of_hookpoint.get((one.feature, one.source))
        if there is not None:
            left.out("of a feature that has another of the same source", str(one.feature))
        if there is None or by_score(one) < by_score(there):
            of_hookpoint[one.feature, one.source] = one
    remarks = list(left.told())
    if cut:
        remarks.append(f"{cut:,} labels are cut at {LONGEST['imported']} characters")
    written = sum(
        notebook.take_labels(of_feature(experiment, hookpoint, 0), labels.values(), experiment.name, write=write)
        for hookpoint, labels in taken.items()
    )
    sources = dict.fromkeys(source for labels in taken.values() for _, source in labels)
    stood = own_stood + sum(map(len, taken.values())) - written
    return Taken(written, stood, tuple(sources), tuple(remarks))


def label_lines(notebook: Notebook, experiment: Experiment, hookpoints: Iterable[str]) -> Iterator[str]:
    """The labels of the features of some hookpoints, a JSON object a line, in the form that `label_files` reads: those
    of people, which have no source, first, then by score. Raises NotesUnavailable, NotesTooNew, CorruptFile."""
    for hookpoint in hookpoints:
        for label in notebook.all_labels(of_feature(experiment, hookpoint, 0)):
            facts = {"hookpoint": hookpoint, "feature": label.feature, "label": label.value}
            facts |= {"source": label.source} if label.source else {}
            facts |= {} if label.score is None else {"score": label.score}
            facts |= {"author": label.author} if label.author else {}
            yield json.dumps(facts | {"updated": label.updated}, ensure_ascii=False) + "\n"


def _hookpoint(place: str, experiment: Experiment, places: Mapping[str, str], seen: set[str]) -> str | None:
    """The hookpoint that a file means; None where the experiment has no such one. `seen`: what was taken for the one
    of an empty name. Raises BadValue."""
    bare = place.lstrip(".").removeprefix("model.")  # delphi names modules from the model on, or from its inside
    known = next((name for name in (place, bare) if name in experiment.saes), None)
    if place in places or known is not None:
        return places.get(place, known)
    if "" not in places:
        return None
    seen.add(place)
    if len(seen) > 1:
        names = " and ".join(f"'{short(name)}'" for name in sorted(seen))
        raise BadValue(f"the labels are of {names}: say of each which hookpoint it is, --hookpoint NAME=H")
    return places[""]


def _refused(label: FoundLabel, hookpoint: str, experiment: Experiment) -> str | None:
    """Why a label cannot be taken; None where it can."""
    size = experiment.saes[hookpoint].num_latents
    if not 0 <= label.feature < size:
        return f"of features that {hookpoint} does not have (from 0 to {size - 1})"
    return None if shortened("imported", label.text) else "empty"


def _own(notebook: Notebook, experiment: Experiment, hookpoint: str) -> dict[int, str]:
    """The labels that people wrote here, by feature."""
    labels = notebook.all_labels(of_feature(experiment, hookpoint, 0), own=True)
    return {label.feature: label.value for label in labels}
