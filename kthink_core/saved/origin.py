"""Where a saved page is from, and what its reader must know first."""

from __future__ import annotations

from datetime import UTC, datetime

import kthink_core
from kthink_core import queries
from kthink_core.saved.address import Kind, command, link
from kthink_core.saved.found_view import Opened


def facts(opened: Opened, kind: Kind) -> dict[str, str]:
    """What the view is of, and what that was made with."""
    view, experiment = opened.view, opened.experiment
    known = {"sae", "hookpoints"} if experiment.is_bare else None
    config = experiment.config.told_to(opened.sees).model_dump(include=known)
    values: dict[str, object] = {
        "view": link(kind, view),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "app": f"kthink {kthink_core.__version__}",
        "experiment": experiment.name,
        "inferences": f"{len(opened.inferences)} of {experiment.inferences or 'an open-ended experiment'}",
        "hookpoint": view.hookpoint,
        "scope": view.scope,
        **config,
        **experiment.bounds,
        **experiment.revisions.found(config),
        **{f"made.{name}": fact for name, fact in experiment.facts.items()},
        "again": command(kind, view),
    }
    return {name: _written(value) for name, value in values.items()}


def warnings(opened: Opened) -> list[str]:
    """A foreign capture site, an SAE no better than the mean, and what could not be read of the experiment."""
    view, name = opened.view, opened.experiment.name
    found = list(opened.reader.warnings)
    if opened.experiment.is_bare:
        found.append(
            f"{name} is imported from files of Goodfire's layout, which have tokens and activations only: all tokens "
            "count as generated; model, log-probabilities, right answers and the SAEs' errors are not known."
        )
    if opened.experiment.config.site == "residual":
        found.append(
            f"Capture site residual of {name}: the SAE was trained on the MLP's output; this experiment feeds it the "
            "residual stream. Expect huge activations at a few positions and a poor FVU."
        )
    quality = opened.ask(queries.quality, view.scope)
    fvu = dict(zip(quality["hookpoint"], quality["fvu"].tolist(), strict=True)).get(view.hookpoint, float("nan"))
    if fvu >= 1:
        found.append(
            f"FVU {fvu:.2f} at {view.hookpoint} of {name}, scope {view.scope}: what the SAE makes of the vectors is no "
            "nearer to them than their mean. Its features do not describe what passes here: what they say of a token "
            "may mean nothing."
        )
    return found


def _written(value: object) -> str:
    if value is None:
        return "unknown"
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return " ".join(text.split())
