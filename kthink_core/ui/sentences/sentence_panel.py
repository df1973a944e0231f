"""Which sentences of an inference's thought matter: what is stored of it, and the job that measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import streamlit as st

from kthink_core.errors import BadFile
from kthink_core.evidence import rollout_plan, sentence_results
from kthink_core.evidence.rollout_plan import Cost, Question
from kthink_core.live.study_requests import SentencesRequest, StoredTrace
from kthink_core.queries.inference import transcript
from kthink_core.records import Intervention
from kthink_core.store.files import Layout
from kthink_core.store.sentence_studies import KIND, Found, SentenceStudy, find_studies
from kthink_core.store.studies import studies_state, trace_digest
from kthink_core.ui.inference import trace_parts
from kthink_core.ui.live import job_button
from kthink_core.ui.parts import clicks, download, feature_names, header, numerals, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.sentences import sentence_bars, sentence_figures
from kthink_core.ui.steer import receipt_table
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page, go

_ROLLOUTS = (50, 100, 200, 500)


def draw(page: Page, feature: int, look: Callable[[tuple[int, int]], None]) -> None:
    """The section of the view's inference; nothing where it has no thought. A click on a sentence calls `look` with its
    positions. `feature`: the main one, which may be clamped."""
    view = page.view
    tokens = page.ask(transcript, view.inference)
    if "think" not in tokens["segment"].tolist():
        return
    st.header("Sentences that matter", help=terms.help("sentence_importance"))
    opened = view.sentences == "open"

    def turned() -> None:
        go(replace(view, sentences="closed" if opened else "open"))

    st.toggle(
        "Which sentences of the thought does the answer depend on?", opened, key="open sentences", on_change=turned
    )
    if not opened:
        return
    st.caption(
        "From just before each sentence and from just after it the model goes on many times, with the same seeds: how "
        "far apart are the answers?"
    )
    state = studies_state(_layout(page), KIND)
    trace = trace_digest(tokens["token_id"].tolist())
    found = _found(str(_layout(page).folder), page.source, view.inference, trace, state)
    held = Intervention(view.hookpoint, feature, "clamp", 0.0)
    clamped = next((one for one in found.clamped if one.clamp == held), None)
    for problem in found.problems:
        st.warning(f"A stored result does not count: {plain(problem)}", icon=":material/warning:")
    if found.plain is not None and len(found.plain.places) > 1:
        _results(page, found.plain, clamped, look)
    _ask(page, found, held, state)


def _ask(page: Page, found: Found, held: Intervention, state: int) -> None:
    """What there is to measure still, what that costs, and the button."""
    view = page.view
    known = found.plain.rollouts if found.plain else rollout_plan.ROLLOUTS
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        choices = sorted({*_ROLLOUTS, known})
        rollouts = st.selectbox("Rollouts from each place", choices, choices.index(known), width=180, key="rollouts")
        clamp = None
        if page.experiment.config.site == "hookpoint":  # an MLP's SAE has no business in the residual stream
            called = plain(feature_names.in_words(page, held.hookpoint, held.feature))
            label = f"Also with feature {called} of {held.hookpoint} held at 0"
            clamp = held if st.toggle(label, help=terms.help("passing_feature"), key="clamp sentences") else None
    seed = found.plain.seed if found.plain and found.plain.rollouts == rollouts else 0
    question = Question(view.inference, rollouts, seed, clamp)
    try:
        cost = _cost(str(_layout(page).folder), page.source, question, state)
    except BadFile as error:
        header.nothing(plain(str(error)))
        return
    if not cost.places:
        st.caption("All of this is measured and stored.")
        return
    st.caption(_told(cost, rollouts))
    request = SentencesRequest(
        trace=StoredTrace(experiment=view.experiment, inference=view.inference),
        rollouts=rollouts, seed=seed, clamp=clamp,
    )  # fmt: skip
    otherwise = ", or measure on the command line with `sentences`"
    job_button.draw(
        page, "sentences", request, "Measure", "rollouts", hookpoints=(view.hookpoint,), otherwise=otherwise
    )


def _told(cost: Cost, rollouts: int) -> str:
    size = f"{cost.places} places, {rollouts} rollouts from each: about {cost.tokens:,} tokens to write"
    if cost.seconds is None:
        return f"{size}. How long that takes is known once rollouts have been made here."
    minutes = cost.seconds / 60
    return (
        f"{size}, about {numerals.number(minutes, 0)} minutes."
        if minutes >= 2
        else f"{size}, about {cost.seconds:.0f} s."
    )


def _results(
    page: Page, study: SentenceStudy, clamped: SentenceStudy | None, look: Callable[[tuple[int, int]], None]
) -> None:
    table = _table(study.id, len(study.places), clamped and (clamped.id, len(clamped.places)), study, clamped)
    _headline(table, "q", study.rollouts, "moves the answers", "move the answers by more than chance")
    for doubt in sentence_results.doubts(study):
        st.info(plain(doubt), icon=":material/help:")

    def chosen(mark: dict[str, int]) -> None:
        trace_parts.visit()
        look((mark["first"], mark["last"]))

    key = f"sentences {study.id} {len(study.places)}"
    described = "Sentences of the thought by their importance"
    clicks.chart(sentence_bars.chart(table), ("first", "last"), key, chosen, described=described)
    download.buttons(page, f"sentences of inference {study.inference}", table, chart=True, study=study.id)
    if clamped is not None and clamped.clamp is not None:
        passing = f"passing {key} {clamped.id} {len(clamped.places)}"
        _passing(page, table, clamped.clamp, study.rollouts, passing, chosen)
    with st.expander("In figures", icon=":material/table_rows:"):
        sentence_figures.draw(table)
    for one in (study, clamped):
        if one is not None and one.interventions:
            _receipts(page, one)


def _receipts(page: Page, study: SentenceStudy) -> None:
    """What steering did in the rollouts of a study."""
    told, failed = sentence_results.receipts(study), sentence_results.failures(study)
    done = "with the feature held" if study.clamp else "steered as the trace"
    with st.expander(f"Receipt of the rollouts {done}", icon=":material/tune:", expanded=bool(failed)):
        if not told:
            st.caption("They were made before there were receipts: what the steering did was not measured.")
            return
        st.caption(
            "Of what was written in all rollouts: medians over them of each one's median. From each place the rollout "
            "that ended first was checked, and its changed vectors encoded again."
        )
        name = f"receipt of sentences {study.id}"
        receipt_table.draw(page, receipt_table.of_run(study.interventions, told), told[0].checks, name)


def _passing(
    page: Page,
    table: pd.DataFrame,
    held: Intervention,
    rollouts: int,
    key: str,
    chosen: Callable[[dict[str, int]], None],
) -> None:
    """What the answers of the rollouts with a feature held come to."""
    measured = table.loc[table["passing"].notna(), :]
    if measured.empty:
        return
    called = feature_names.in_words(page, held.hookpoint, held.feature)
    feature = plain(f"feature {called} of {held.hookpoint} held at {held.value:g}")
    one, many = f"is less or more important with {feature}", f"are less or more important with {feature}"
    _headline(measured, "passing_q", rollouts, one, many)
    described = "Sentences of the thought by what of their importance passes the feature"
    clicks.chart(sentence_bars.passing_chart(measured), ("first", "last"), key, chosen, described=described)


def _headline(table: pd.DataFrame, q: str, rollouts: int, one: str, many: str) -> None:
    """For how many sentences it is shown, and for which. `one`, `many`: what they do."""
    sure = [str(number + 1) for number in table.loc[table[q] < sentence_results.TRUSTED, "sentence"]]
    by = f"(q < {sentence_results.TRUSTED}; {rollouts} rollouts from each place)"
    if sure:
        st.markdown(f"**{len(sure)} of {len(table)} sentences {many}** {by}: {', '.join(sure)}.")
    else:
        st.markdown(f"**For none of {len(table)} sentences is it shown that it {one}** {by}.")


def _layout(page: Page) -> Layout:
    return Layout(page.source.cache / page.source.experiment)


@st.cache_resource(max_entries=16, show_spinner=False)
def _found(folder: str, _source: cache.Source, inference: int, trace: str, state: int) -> Found:
    """`folder`, `inference`, `trace` and `state` tell all answers apart."""
    return find_studies(Layout(_source.cache / _source.experiment), cache.reader(_source).experiment, inference, trace)


@st.cache_data(max_entries=64, show_spinner=False)
def _cost(folder: str, _source: cache.Source, question: Question, state: int) -> Cost:
    reader = cache.reader(_source)
    studies = rollout_plan.standing(reader, reader.inference(question.inference), question)
    return rollout_plan.left(reader, studies)


@st.cache_data(max_entries=64, show_spinner=False)
def _table(
    id: str, places: int, other: tuple[str, int] | None, _study: SentenceStudy, _clamped: SentenceStudy | None
) -> pd.DataFrame:
    """The first three tell all answers apart."""
    return sentence_results.table(_study, _clamped)
