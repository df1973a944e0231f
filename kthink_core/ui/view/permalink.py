"""A view of the app as query parameters, and back. Pure: knows nothing of Streamlit.

Whatever a link holds, `parse` returns a valid view, and says in one line a parameter what it could not take.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from kthink_core.errors import encodable
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
    choice_link,
    list_link,
    live_link,
    number_link,
    pair_link,
    score_link,
    steer_link,
    study_link,
    training_link,
    watch_link,
)
from kthink_core.ui.view.bounds import Bounds

DEFAULT_SCOPE: Scope = "generated"
MOST_RELEVANT = 100
_LONGEST_TAG = 100
_POSITIONS = range(10**7)

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
    tag: str = ""
    """Of own traces; empty: any, or none."""
    search: str = ""
    relevant: int = RELEVANT
    """How many features of an inference count as relevant."""
    list: list_link.ListLink = list_link.NONE
    """A list of features, whose rows the matrix shows."""
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
    prompt: str = ""
    """Of a live run."""
    sent: live_link.Sent | None = None
    """How it is sampled and sent; None: as the form has it."""
    live: str = ""
    """Its id, by which whoever has the link finds it as long as it is remembered."""
    measure: str | None = None
    """Another experiment whose inferences say what is unusual; None: the page takes one."""
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


def without_run(view: View) -> View:
    """What is shared of anything but a live run: no prompt that somebody typed goes along."""
    return replace(view, prompt="", sent=None, live="")


def _text(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return watch_link.PAIRS.join(watch_link.PARTS.join(map(str, pair)) for pair in value)
    return number_link.SEPARATOR.join(map(str, value)) if isinstance(value, tuple) else str(value)


_WRITTEN: dict[str, Callable[[Any], str]] = {
    "steer": steer_link.steer_text,
    "run": steer_link.run_text,
    "list": list_link.list_text,
    "sent": live_link.sent_text,
    "pair": pair_link.pair_text,
}


def parse_experiment(parameters: Mapping[str, str], names: Collection[str], default: str) -> tuple[str, list[str]]:
    """The experiment that a link names, else `default`, else the first of `names`; and what was wrong with the link."""
    problems: list[str] = []
    fallback = default if default in names else next(iter(names))
    return choice_link.name(parameters, "experiment", names, fallback, problems), problems


def parse(parameters: Mapping[str, str], bounds: Bounds) -> tuple[View, list[str]]:
    """The view that a link names within `bounds`, or the nearest one; and what was wrong with the link."""
    problems: list[str] = []
    # The deepest is the default: features of the first layers tell of tokens more than of what is done with them.
    hookpoint = choice_link.name(parameters, "hookpoint", bounds.latents, next(reversed(bounds.latents)), problems)
    features = range(bounds.latents[hookpoint])
    inference = choice_link.index(parameters, "inference", bounds.inferences, problems)
    if inference is None:
        inference = bounds.inferences[0] if bounds.inferences else 0
    view = View(
        experiment=bounds.experiment,
        hookpoint=hookpoint,
        inference=inference,
        scope=choice_link.name(parameters, "scope", SCOPES, DEFAULT_SCOPE, problems),
        feature=choice_link.index(parameters, "feature", features, problems),
        also=number_link.indices(parameters, "also", features, MOST_FEATURES - 1, problems),
        watch=watch_link.watch(parameters, features, MOST_FEATURES, problems),
        span=number_link.span(parameters, len(_POSITIONS), problems),
        position=choice_link.index(parameters, "position", _POSITIONS, problems),
        ranking=choice_link.name(parameters, "ranking", RANKINGS, RANKINGS[0], problems),
        sort=choice_link.name(parameters, "sort", SORTS, SORTS[0], problems),
        outcome=choice_link.name(parameters, "outcome", OUTCOMES, OUTCOMES[0], problems),
        mode=choice_link.name(parameters, "mode", MODES, MODES[0], problems),
        tag=encodable(parameters.get("tag", "")[:_LONGEST_TAG])[:_LONGEST_TAG],
        search=_search(parameters.get("search", "")),
        relevant=choice_link.index(parameters, "relevant", range(1, MOST_RELEVANT + 1), problems) or RELEVANT,
        list=list_link.features_list(parameters, bounds.latents, problems),
        against=choice_link.index(parameters, "against", bounds.inferences, problems),
        other=choice_link.one_of(parameters, "other", bounds.others, problems),
        pair=pair_link.pair(parameters, problems),
        plot=choice_link.name(parameters, "plot", PLOTS, PLOTS[0], problems),
        after=choice_link.name(parameters, "after", AFTER, AFTER[0], problems),
        pages=choice_link.index(parameters, "pages", range(1, MOST_PAGES + 1), problems) or 1,
        section=choice_link.name(parameters, "section", SECTIONS, SECTIONS[0], problems),
        facet=choice_link.name(parameters, "facet", FACETS, FACETS[0], problems),
        overlap=choice_link.index(parameters, "overlap", OVERLAPS, problems) or DEFAULT_OVERLAP,
        test=choice_link.name(parameters, "test", TESTS, TESTS[0], problems),
        passport=choice_link.name(parameters, "passport", PASSPORTS, PASSPORTS[0], problems),
        training=training_link.name(parameters, problems),
        between=choice_link.name(parameters, "between", CONTRASTS, View.between, problems),
        word=_search(parameters.get("word", View.word)),
        basis=choice_link.name(parameters, "basis", BASES, BASES[0], problems),
        locked=choice_link.index(parameters, "locked", features, problems),
        shade=choice_link.name(parameters, "shade", SHADES, SHADES[0], problems),
        grain=choice_link.name(parameters, "grain", STEPS, STEPS[0], problems),
        sought=choice_link.index(parameters, "sought", features, problems),
        branch=branch_link.branch(parameters, problems),
        prompt=live_link.prompt(parameters, problems),
        sent=live_link.sent(parameters, bounds.latents, problems),
        live=live_link.run(parameters, problems),
        measure=choice_link.one_of(parameters, "measure", [bounds.experiment, *bounds.others], problems),
        scale=choice_link.name(parameters, "scale", SCALES, SCALES[0], problems),
        browse=choice_link.name(parameters, "browse", FOLDS, FOLDS[0], problems),
        sentences=choice_link.name(parameters, "sentences", FOLDS, FOLDS[0], problems),
        words=score_link.words(parameters, problems),
        window=score_link.window(parameters, problems),
        alpha=score_link.alpha(parameters, problems),
        sweep=study_link.study(parameters, "sweep", problems),
        does=causes_link.does(parameters, problems),
        rival=_search(parameters.get("rival", "")),
        steered=choice_link.name(parameters, "steered", STEERED, STEERED[0], problems),
        steer=steer_link.steer(parameters, bounds.latents, problems),
        run=steer_link.run(parameters, problems),
        residual=choice_link.name(parameters, "residual", SWITCH, SWITCH[0], problems),
    )
    return view, problems


def _search(given: str) -> str:
    """A text that is looked for, as far as it is looked at."""
    return encodable(given[: choice_link.SHOWN])[: choice_link.SHOWN]
