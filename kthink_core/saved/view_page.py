"""From a link to the page that is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kthink_core import queries
from kthink_core.errors import BadValue, UnknownName
from kthink_core.saved import address, origin
from kthink_core.saved.address import Kind
from kthink_core.saved.comparison_parts import comparison
from kthink_core.saved.feature_parts import feature
from kthink_core.saved.found_view import Opened, opened
from kthink_core.saved.html_page import html
from kthink_core.saved.matrix_part import matrix
from kthink_core.saved.notes_part import notes
from kthink_core.saved.part import Part
from kthink_core.saved.transcript_part import inference
from kthink_core.store.files import publish, temporary
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.ui.view import permalink
from kthink_core.ui.view.permalink import MOST_FEATURES, View


def save_view(cache: Path, default: str, given: str, target: Path, warn: Callable[[str], None]) -> Path:
    """Writes the page of a link to a file, which is replaced when the new one is whole; returns `target`.

    `default` is the experiment of a link that names none; `warn` is told what of a link was not as it says. Raises
    BadValue for a link to no page that can be saved, a name that does not end in .html, a missing folder, a view of
    nothing; what `open_reader` raises; OSError.
    """
    if target.suffix.lower() not in (".html", ".htm"):
        raise BadValue(f"{target} does not end in .html")
    if not target.parent.is_dir():
        raise BadValue(f"{target}: there is no folder {target.parent}")
    kind, parameters = address.read_link(given)
    text = view_page(kind, cache, default, parameters, warn=warn)
    beside = temporary(target)
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        publish(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def view_page(
    kind: Kind,
    cache: Path,
    default: str,
    parameters: Mapping[str, str],
    visible: tuple[str, ...] | None = None,
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> str:
    """The HTML of what a page shows under the parameters of its link. `visible`: the experiments that may be opened,
    and whose labels are told; None for all. Raises as `save_view`."""
    statuses = [status for status in list_experiments(cache) if visible is None or status.name in visible]
    names = [status.name for status in statuses if status.experiment is not None]
    wanted = parameters.get("experiment", default)
    if wanted not in names and visible is not None:
        raise UnknownName("experiment", wanted, names)
    with open_reader(cache, wanted) as reader:
        others = [name for name in names if name != wanted]
        latents = {hookpoint: sae.num_latents for hookpoint, sae in reader.experiment.saes.items()}
        bounds = permalink.Bounds(wanted, reader.inference_ids, latents, others)
        view, problems = permalink.parse(dict(parameters), bounds)
        for problem in problems:
            warn(problem)
        if not reader.inference_ids:
            raise BadValue(f"no inference of experiment '{wanted}' is committed yet")
        with opened(cache, statuses, reader, view, visible) as found:
            return _written(found.at(_whole(found, kind)), kind)


def _whole(found: Opened, kind: Kind) -> View:
    """The view with what its page takes where the link is silent: an experiment that grows may have it otherwise."""
    view = found.view
    if view.feature is not None or kind == "across":
        return view
    if kind != "feature":
        return replace(view, feature=found.first_feature())
    counts = found.ask(queries.feature_counts, view.hookpoint, view.scope, top=1)["feature"].tolist()
    return replace(view, feature=counts[0] if counts else 0)


def _written(found: Opened, kind: Kind) -> str:
    view = found.view
    other = found.beside(view.other) if kind == "compare" and view.other else None
    title, parts = _content(found, kind, other)
    sheet: dict[str, Any] = {
        "title": title,
        "label": found.names([view.feature]).get(view.feature, "")
        if kind == "feature" and view.feature is not None
        else "",
        "warnings": [text for one in (found, other) if one is not None for text in origin.warnings(one)],
        "view": permalink.format_view(view),
        "again": address.command(kind, view),
        "facts": [origin.facts(one, kind) for one in (found, other) if one is not None],
        "parts": [*parts, *notes(found, kind)],
    }
    return html(f"{title} · {found.experiment.name} · kthink", sheet)


def _content(found: Opened, kind: Kind, other: Opened | None) -> tuple[str, Sequence[Part]]:
    """Title and parts."""
    view = found.view
    if kind == "inference":
        main = found.first_feature()
        shown = (main, *(feature for feature in view.also if feature != main))[:MOST_FEATURES]
        return f"Inference {view.inference}, {view.hookpoint}", inference(found, shown)
    if kind == "feature":
        return f"Feature {view.feature} of {view.hookpoint}", feature(found, int(view.feature or 0))
    if kind == "across":
        return f"Across inferences, {view.hookpoint}", matrix(found)
    return comparison(found, other)
