"""A view of the app as query parameters, and back. Pure: knows nothing of Streamlit.

Whatever a link holds, `parse` returns a valid view, and says in one line a parameter what it could not take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from kthink_core.errors import encodable, short
from kthink_core.evidence.divides import BETWEEN, Between
from kthink_core.evidence.matches import WINDOW, Window
from kthink_core.evidence.reason_score import ALPHA
from kthink_core.outline import GRAINS
from kthink_core.queries import RANKINGS, SORTS, Ranking, Sort
from kthink_core.queries.contexts import MOST_PAGES
from kthink_core.steer_options import Asked
from kthink_core.store.feature_stats import RELEVANT
from kthink_core.store.scopes import SCOPES, Scope
from kthink_core.ui.view import (
    branch_link,
    causes_link,
    number_link,
    pair_link,
    score_link,
    steer_link,
    study_link,
    training_link,
    watch_link,
)
from kthink_core.ui.view.bounds import Bounds

Name = TypeVar("Name", bound=str)

DEFAULT_SCOPE: Scope = "generated"
MOST_RELEVANT = 100
_POSITIONS = range(10**7)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_SHOWN = 60
"""Longest part of a text that is looked at."""

OUTCOMES = ("any", "right", "wrong", "cut", "ungraded")
MODES = ("any", "think", "bypass")
PLOTS = ("features", "top", "frequencies", "histogram", "ids")
"""Tabs below a transcript."""
AFTER = ("unusual", *PLOTS)
"""Tabs below a live run that has ended."""
SECTIONS = ("contexts", "tokens", "inferences", "company", "phase", "injection")
"""Tabs of a feature."""
FACETS = ("problems", "features", "quality", "tokens")
"""Tabs of two experiments."""
TESTS = ("scores", "contrasts", "families")
"""Tabs of the page Reasoning."""
OVERLAPS = (30, 50, 70, 90)
"""Per cent of their positions that two features share, from where on they are of one family."""
DEFAULT_OVERLAP = 50
SWITCH = ("off", "on")
PASSPORTS = ("figures", "audit", "training")
"""Tabs of the page Quality."""
STEERED = ("streams", "sweep")
"""Tabs of the page Steer."""
CONTRASTS: dict[str, Between] = {between.replace(":", "-"): between for between in BETWEEN}
"""What two sides are of, by their name in a link."""
FOLDS = ("closed", "open")
BASES = ("trace", "experiment")
"""What the activations of a transcript are divided by the maximum of."""
SHADES = ("features", "surprise", "entropy")
"""What shades the tokens of a transcript: features, or the model's own −ln p or entropy in the place of one."""
STEPS = ("none", *GRAINS)
"""What a transcript is cut into."""
SCALES = ("shared", "own")
"""Whether two transcripts side by side are shaded by one maximum."""
MOST_FEATURES = 5
"""Features shown at once."""


@dataclass(frozen=True)
class View:
    """All that a person has chosen. Defaults stay out of the link."""

    experiment: str
    hookpoint: str
    inference: int = 0
    scope: Scope = DEFAULT_SCOPE
    feature: int | None = None
    """None: the page takes the feature that matters most."""
    also: tuple[int, ...] = ()
    """More features of the hookpoint, shown beside `feature` in hues of their own."""
    watch: tuple[tuple[int, float], ...] = ()
    """Features of the hookpoint whose firings are reported, each with the activation above which they are."""
    span: tuple[int, int] | None = None
    """First and last position of a chosen stretch of tokens."""
    position: int | None = None
    """The token to go to."""
    ranking: Ranking = RANKINGS[0]
    sort: Sort = SORTS[0]
    outcome: str = OUTCOMES[0]
    mode: str = MODES[0]
    search: str = ""
    relevant: int = RELEVANT
    """How many features of an inference count as relevant."""
    against: int | None = None
    """Another inference to compare with."""
    other: str | None = None
    """Another experiment to compare with."""
    pair: pair_link.Pair = pair_link.NONE
    """What of two inferences or spans is compared."""
    plot: str = PLOTS[0]
    after: str = AFTER[0]
    section: str = SECTIONS[0]
    pages: int = 1
    """Of a feature's contexts."""
    facet: str = FACETS[0]
    test: str = TESTS[0]
    overlap: int = DEFAULT_OVERLAP
    passport: str = PASSPORTS[0]
    training: str = ""
    """A training of SAEs; empty: the page takes one."""
    between: str = next(iter(CONTRASTS))
    word: str = "wait"
    """What a contrast of before and after is around."""
    basis: str = BASES[0]
    locked: int | None = None
    """The feature that stays lit alone in a transcript."""
    shade: str = SHADES[0]
    grain: str = STEPS[0]
    sought: int | None = None
    """The feature whose firings are gone through in a transcript."""
    branch: tuple[int, ...] = ()
    """A position of the inference from which to go on, and the id of the token to put there, if any."""
    scale: str = SCALES[0]
    browse: str = FOLDS[0]
    """Whether the list of features on a feature's page is open."""
    sentences: str = FOLDS[0]
    """Whether it is open which sentences of an inference's thought matter."""
    words: str = ""
    """The vocabulary of a ReasonScore, a word a line; empty: its own."""
    window: Window = WINDOW
    """How far a word of it reaches, to the left and to the right."""
    alpha: float = ALPHA
    """The weight of its entropy."""
    sweep: str = ""
    """Id of a stored sweep; empty: the newest."""
    does: causes_link.Does = causes_link.DOES
    rival: str = ""
    """The text of a token that another is explained against."""
    steered: str = STEERED[0]
    steer: tuple[Asked, ...] = ()
    """What is done to features while the model writes."""
    run: steer_link.Run | None = None
    """How it is sampled; None: as the inference was."""
    residual: str = SWITCH[0]
    """Whether an MLP's SAE may steer the residual stream."""


def format_view(view: View) -> dict[str, str]:
    """The query parameters of a view: the place always, the rest where it is not the default."""
    parameters = {"experiment": view.experiment, "inference": str(view.inference)}
    parameters |= {"hookpoint": view.hookpoint, "scope": view.scope}
    for field in fields(View):
        value = getattr(view, field.name)
        if field.name not in parameters and value != field.default:
            parameters[field.name] = _WRITTEN.get(field.name, _text)(value)
    return parameters


def _text(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return watch_link.PAIRS.join(watch_link.PARTS.join(map(str, pair)) for pair in value)
    return number_link.SEPARATOR.join(map(str, value)) if isinstance(value, tuple) else str(value)


_WRITTEN: dict[str, Callable[[Any], str]] = {
    "steer": steer_link.steer_text,
    "run": steer_link.run_text,
    "pair": pair_link.pair_text,
}


def parse_experiment(parameters: Mapping[str, str], names: Collection[str], default: str) -> tuple[str, list[str]]:
    """The experiment that a link names, else `default`, else the first of `names`; and what was wrong with the link."""
    problems: list[str] = []
    fallback = default if default in names else next(iter(names))
    return _name(parameters, "experiment", names, fallback, problems), problems


def parse(parameters: Mapping[str, str], bounds: Bounds) -> tuple[View, list[str]]:
    """The view that a link names within `bounds`, or the nearest one; and what was wrong with the link."""
    problems: list[str] = []
    # The deepest is the default: features of the first layers tell of tokens more than of what is done with them.
    hookpoint = _name(parameters, "hookpoint", bounds.latents, next(reversed(bounds.latents)), problems)
    features = range(bounds.latents[hookpoint])
    inference = _index(parameters, "inference", bounds.inferences, problems)
    if inference is None:
        inference = bounds.inferences[0] if bounds.inferences else 0
    compares = "other" in parameters and len(bounds.others) > 0
    view = View(
        experiment=bounds.experiment,
        hookpoint=hookpoint,
        inference=inference,
        scope=_name(parameters, "scope", SCOPES, DEFAULT_SCOPE, problems),
        feature=_index(parameters, "feature", features, problems),
        also=number_link.indices(parameters, "also", features, MOST_FEATURES - 1, problems),
        watch=watch_link.watch(parameters, features, MOST_FEATURES, problems),
        span=number_link.span(parameters, len(_POSITIONS), problems),
        position=_index(parameters, "position", _POSITIONS, problems),
        ranking=_name(parameters, "ranking", RANKINGS, RANKINGS[0], problems),
        sort=_name(parameters, "sort", SORTS, SORTS[0], problems),
        outcome=_name(parameters, "outcome", OUTCOMES, OUTCOMES[0], problems),
        mode=_name(parameters, "mode", MODES, MODES[0], problems),
        search=_search(parameters.get("search", "")),
        relevant=_index(parameters, "relevant", range(1, MOST_RELEVANT + 1), problems) or RELEVANT,
        against=_index(parameters, "against", bounds.inferences, problems),
        other=_name(parameters, "other", bounds.others, bounds.others[0], problems) if compares else None,
        pair=pair_link.pair(parameters, problems),
        plot=_name(parameters, "plot", PLOTS, PLOTS[0], problems),
        after=_name(parameters, "after", AFTER, AFTER[0], problems),
        pages=_index(parameters, "pages", range(1, MOST_PAGES + 1), problems) or 1,
        section=_name(parameters, "section", SECTIONS, SECTIONS[0], problems),
        facet=_name(parameters, "facet", FACETS, FACETS[0], problems),
        overlap=_index(parameters, "overlap", OVERLAPS, problems) or DEFAULT_OVERLAP,
        test=_name(parameters, "test", TESTS, TESTS[0], problems),
        passport=_name(parameters, "passport", PASSPORTS, PASSPORTS[0], problems),
        training=training_link.name(parameters, problems),
        between=_name(parameters, "between", CONTRASTS, View.between, problems),
        word=_search(parameters.get("word", View.word)),
        basis=_name(parameters, "basis", BASES, BASES[0], problems),
        locked=_index(parameters, "locked", features, problems),
        shade=_name(parameters, "shade", SHADES, SHADES[0], problems),
        grain=_name(parameters, "grain", STEPS, STEPS[0], problems),
        sought=_index(parameters, "sought", features, problems),
        branch=branch_link.branch(parameters, problems),
        scale=_name(parameters, "scale", SCALES, SCALES[0], problems),
        browse=_name(parameters, "browse", FOLDS, FOLDS[0], problems),
        sentences=_name(parameters, "sentences", FOLDS, FOLDS[0], problems),
        words=score_link.words(parameters, problems),
        window=score_link.window(parameters, problems),
        alpha=score_link.alpha(parameters, problems),
        sweep=study_link.study(parameters, "sweep", problems),
        does=causes_link.does(parameters, problems),
        rival=_search(parameters.get("rival", "")),
        steered=_name(parameters, "steered", STEERED, STEERED[0], problems),
        steer=steer_link.steer(parameters, bounds.latents, problems),
        run=steer_link.run(parameters, problems),
        residual=_name(parameters, "residual", SWITCH, SWITCH[0], problems),
    )
    return view, problems


def _search(given: str) -> str:
    """A text that is looked for, as far as it is looked at."""
    return encodable(given[:_SHOWN])[:_SHOWN]


def _name(
    parameters: Mapping[str, str], parameter: str, known: Collection[Name], default: Name, problems: list[str]
) -> Name:
    """The named one of `known`, the one with the nearest name, or the default."""
    given = parameters.get(parameter)
    if given is None:
        return default
    for name in known:
        if name == given:
            return name
    # Comparing takes quadratic time: a link of a megabyte must not hold the server up.
    near = get_close_matches(given[:_SHOWN], known, n=1)
    nearest = next((name for name in known if [name] == near), default)
    problems.append(f"The link's {parameter} '{short(given)}' does not exist: showing '{nearest}'.")
    return nearest


def _index(parameters: Mapping[str, str], parameter: str, known: Sequence[int], problems: list[str]) -> int | None:
    """The number given, the nearest of `known`, or None where it is no number or nothing is known yet."""
    given = parameters.get(parameter)
    if given is None or not known:
        return None
    if not _INTEGER.fullmatch(given):
        problems.append(f"The link's {parameter} '{short(given)}' is not a whole number: showing the first choice.")
        return None
    index = int(given)
    if index in known:
        return index
    nearest = min(max(index, known[0]), known[-1])
    if nearest not in known:
        nearest = min(known, key=lambda other: abs(other - index))
    problems.append(f"The link's {parameter} {given} is not among {known[0]} to {known[-1]}: showing {nearest}.")
    return nearest
