"""What a run of delphi leaves in its folder, read as labels.

By delphi's own code (https://github.com/EleutherAI/delphi: `explainer_postprocess` and `scorer_postprocess` of
`delphi/__main__.py`, `Latent.__repr__` of `delphi/latents/latents.py`, `load_data` and `compute_confusion` of
`delphi/log/result_analysis.py`): `explanations/MODULE_latentN.txt` holds a JSON text, the explanation;
`scores/SCORER/MODULE_latentN.txt` a JSON list of the examples that a scorer was shown, with `activating` and
`prediction`; `run_config.json` names the `explainer_model`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from kthink_core.documents import parse, parse_object, read_bounded
from kthink_core.errors import BadFile, in_words
from kthink_core.travel.label_files import MOST_LABELS, Found, FoundLabel, Unread, score_of

_EXPLANATIONS, _SCORES, _RUN = "explanations", "scores", "run_config.json"
_NAME = re.compile(r"(?P<module>.{1,200})_latent(?P<feature>[0-9]{1,18})\.txt", re.DOTALL)
_LONGEST = 1_000_000
_LONGEST_SCORE = 20_000_000
"""Bytes: a scorer's examples come with all their tokens."""


def read_delphi(folder: Path) -> Iterator[Found]:
    """The explanations of a run's folder, or of its `explanations`, by name; a label's score is the mean over the
    scorers of the class-balanced accuracy. Raises BadFile where there are none, or too many; OSError."""
    run = folder.parent if folder.name == _EXPLANATIONS else folder
    explanations = run / _EXPLANATIONS
    if not explanations.is_dir():
        raise BadFile(folder, f"it has no folder `{_EXPLANATIONS}`, as runs of delphi have")
    names = _names(explanations)
    if not names:
        raise BadFile(folder, "it holds no explanation of delphi's, MODULE_latentN.txt")
    source = " ".join(filter(None, ("delphi", _explainer(run / _RUN))))
    scorers = _scorers(run / _SCORES)
    for name in names:
        parts = _NAME.fullmatch(name)
        if parts is None:
            yield Unread(name, "its name is not MODULE_latentN.txt")
            continue
        try:
            text = parse(explanations / name, read_bounded(explanations / name, _LONGEST))
            score = score_of(_accuracy(scorer / name.replace("/", "--")) for scorer in scorers)
        except (BadFile, OSError) as error:
            yield Unread(name, in_words(error))
            continue
        if not isinstance(text, str):
            yield Unread(name, "it holds no text")
            continue
        yield FoundLabel(parts["module"], int(parts["feature"]), text, source, score, "")


def _names(folder: Path) -> list[str]:
    """Of its plain files; a link may lead anywhere."""
    with os.scandir(folder) as entries:
        names = []
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                names.append(entry.name)
            if len(names) > MOST_LABELS:
                raise BadFile(folder, f"it has more than {MOST_LABELS:,} files")
    return sorted(names)


def _scorers(scores: Path) -> list[Path]:
    if not scores.is_dir() or scores.is_symlink():
        return []
    return sorted(path for path in scores.iterdir() if path.is_dir() and not path.is_symlink())


def _explainer(path: Path) -> str:
    """The model that wrote the explanations, where the run says so."""
    if not path.is_file() or path.is_symlink():
        return ""
    model = parse_object(path, read_bounded(path), infinite=True).get("explainer_model")
    return model if isinstance(model, str) else ""


def _accuracy(path: Path) -> float | None:
    """The mean of the shares of activating examples that were taken for such, and of others that were not. None where
    there is no such file, or not both kinds. Raises BadFile."""
    if not path.is_file() or path.is_symlink():
        return None
    examples = parse(path, read_bounded(path, _LONGEST_SCORE), infinite=True)
    if not isinstance(examples, list):
        raise BadFile(path, "it holds no list of examples")
    found: dict[bool, list[bool]] = {True: [], False: []}
    for example in examples:
        is_activating, said = _said(example)
        if said is not None:
            found[is_activating].append(said == is_activating)
    return fmean(map(fmean, found.values())) if all(found.values()) else None


def _said(example: Any) -> tuple[bool, bool | None]:
    """Whether an example activates, and whether the scorer said so; None where it said nothing."""
    if not isinstance(example, dict):
        return False, None
    prediction, is_activating = example.get("prediction"), example.get("activating")
    if not isinstance(prediction, bool | int | float) or not isinstance(is_activating, bool):
        return False, None
    return is_activating, prediction >= 0.5
