"""The very same tokens in two experiments: what either model expects of them, and which features differ where."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from kthink_core.evidence import same_tokens
from kthink_core.identity import same_features, source_of
from kthink_core.store.scopes import Scope
from kthink_core.ui.causes import causes_charts
from kthink_core.ui.compare import comparison
from kthink_core.ui.parts import charts, download, feature_names, feature_tables, header, numerals, snippets, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page, lead, with_features

_LISTED = 100
_WHOLE = 100_000
"""Rows of a file, at most."""


def draw(page: Page, other: Page) -> None:
    """The view's inference in both."""
    here, there, hookpoint = page.experiment, other.experiment, page.view.hookpoint
    inference = page.view.inference
    if hookpoint not in there.saes:
        header.nothing(f"{plain(there.name)} has nothing at {hookpoint}: choose another hookpoint.")
        return
    if not same_tokens.is_same_text(cache.reader(page.source), cache.reader(other.source), inference):
        header.nothing(
            f"Inference {inference} is not the same text in both. `precompute --traces experiment:{here.name}` "
            "passes the very tokens of one experiment through another model, site or set of SAEs."
        )
        return
    comparison.inference_head(page, inference)
    for one, source in ((here, there), (there, here)):
        if source_of(one) == source.name:
            st.caption(f"{plain(one.name)} read the tokens that {plain(source.name)} has; it generated nothing.")
    tokens = page.ask(_tokens, other.source, inference, hookpoint)
    _predictions(page, other, tokens)
    _features(page, other, inference)


def _tokens(reader: cache.Reader, other: cache.Source, inference: int, hookpoint: str) -> pd.DataFrame:
    return same_tokens.token_differences(reader, cache.reader(other), inference, hookpoint)


def _feature_rows(
    reader: cache.Reader, other: cache.Source, inference: int, hookpoint: str, scope: Scope, top: int
) -> pd.DataFrame:
    return same_tokens.feature_differences(reader, cache.reader(other), inference, hookpoint, scope, top)


def _predictions(page: Page, other: Page, tokens: pd.DataFrame) -> None:
    """How likely each token was to either."""
    st.header("What either expected", help=terms.help("expected_apart"))
    here, there = page.experiment.name, other.experiment.name
    written = tokens.loc[tokens["difference"].notna(), :]
    apart = float(written["difference"].abs().max()) if len(written) else 0.0
    if not apart > _NOTHING:
        header.nothing("Both expected every token alike: they are one model, whatever else differs.")
    else:
        with st.container(horizontal=True, gap="medium"):
            for name, column in ((here, "logprob"), (there, "logprob_other")):
                told = f"{numerals.number(float(written[column].mean()), 3)} nats"
                st.metric(f"Mean log-probability, {plain(name)}", told, width="content")
        stretch = snippets.Stretch(
            tokens["text"].tolist(),
            tokens["token_id"].tolist(),
            (tokens["difference"] < 0).tolist(),
            tokens["difference"].abs().fillna(0).tolist(),
        )
        note = (
            f"the deeper a token is shaded, the further the two are apart, up to {numerals.number(apart, 2)} nats; "
            f"underlined where {there} found it likelier"
        )
        key = f"one text {page.source.version} {other.source.version} {page.view.inference}"
        snippets.draw_stretches("The text", note, [stretch], apart, key=key, measure="apart")
        told = (("logprob", f"In {here}", ".4g"), ("logprob_other", f"In {there}", ".4g"),
                ("difference", "Difference (nats)", "+.4g"))  # fmt: skip
        charts.draw(
            causes_charts.ribbon(written, "difference", "Difference (nats)", len(tokens), told),
            f"Log-probability of each token in {here}, less that in {there}",
        )
    download.buttons(page, f"tokens in {here} and {there}", tokens)


def _features(page: Page, other: Page, inference: int) -> None:
    """Which fire elsewhere in the one than in the other."""
    view, hookpoint = page.view, page.view.hookpoint
    here, there = page.experiment.name, other.experiment.name
    same = same_features(page.experiment, other.experiment, hookpoint)
    st.header("Features that differ", help=terms.help("features_apart"))
    table = page.ask(_feature_rows, other.source, inference, hookpoint, view.scope, _LISTED)
    if table.empty:
        header.nothing(f"No feature fires in scope {view.scope} of this inference.")
        return
    if same:
        agreed = table.loc[table["apart"] == 0, "feature"]
        st.caption(
            f"Positions of scope {view.scope} at which a feature fires in one of the two and not in the other. "
            + (f"{len(agreed)} of those listed fire at the same positions in both." if len(agreed) else "")
        )
    else:
        st.caption(
            "The two have different SAEs here, so equal numbers mean different features: beside each stands the one of "
            f"{plain(there)} that fires at the most nearly same positions of this text, which may be chance."
        )
    titles = {"positions": here, "positions_other": there, "max_activation": f"Max. {here}"}
    titles |= {"max_activation_other": f"Max. {there}"}
    partner = [] if same else ["feature_other"]
    called = {} if same else feature_names.names(other, hookpoint, table["feature_other"].dropna().astype(int))
    feature_tables.draw(
        page, table, [*partner, "apart", "both", "positions", "positions_other", "max_activation",
                      "max_activation_other"],
        lambda feature: lead("feature", with_features(view, (feature,))), name=f"features in {here} and {there}",
        titles=titles, partners=called, rows_of_file=partial(
            _feature_rows, cache.reader(page.source), other.source, inference, hookpoint, view.scope, _WHOLE
        ), most=_WHOLE,
    )  # fmt: skip


_NOTHING = 1e-3
"""Nats below which predictions differ by rounding alone."""
