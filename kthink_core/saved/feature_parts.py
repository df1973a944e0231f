"""A feature of a saved page: its figures, contexts, tokens, inferences, and the features beside it."""

from __future__ import annotations

import pandas as pd

from kthink_core import queries
from kthink_core.queries.contexts import shown_contexts
from kthink_core.saved import part
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part
from kthink_core.saved.phase_part import phase
from kthink_core.saved.transcript_part import CALLED, with_labels
from kthink_core.ui.parts import snippet_packing, verdict_words

_FIGURES = (
    Column("relevant_inferences", "Relevant in"), Column("of", "of inferences"), Column("inferences", "Fires in"),
    Column("positions", "At positions"), Column("of_positions", "of positions in scope"),
    Column("density", "Density", 1, "%"), Column("max_activation", "Maximum", 2), Column("mean_activation", "Mean", 2),
)  # fmt: skip
_SIDES = (
    Column("side", "In"), Column("share", "Share", 1, "%"), Column("mean_activation", "Mean", 2),
    Column("max_activation", "Maximum", 2), Column("active", "Fires at"), Column("positions", "of positions"),
    Column("inferences", "Inferences"),
)  # fmt: skip


def feature(opened: Opened, number: int) -> list[Part]:
    """All that the page of a feature shows of the store."""
    view, hookpoint, scope = opened.view, opened.view.hookpoint, opened.view.scope
    stored = opened.ask(queries.quality, scope).set_index("hookpoint").loc[hookpoint]
    figures = opened.ask(queries.feature_summary, hookpoint, number, scope)
    positions = int(stored["positions"])
    density = figures["positions"] / positions if positions else float("nan")
    figures = figures.assign(of_positions=positions, density=density)
    head = [part.table(f"In scope {scope}", f"figures of feature {number}", figures, _FIGURES)]
    bins = opened.ask(queries.feature_histogram, hookpoint, number, scope)
    if bins.empty:
        return [*head, part.lines(f"It never fires in scope {scope}."), *_logits(opened, number)]
    return [
        *head,
        part.histogram(f"Activations in scope {scope}", f"activations of feature {number}", bins),
        part.group("Contexts", _contexts(opened, number), "Shaded by activation over its maximum in scope."),
        part.group(
            "Top tokens",
            [
                part.sides(
                    [_top_tokens(opened, number, f"In inference {view.inference}", view.inference)],
                    [_top_tokens(opened, number, "Over all inferences", None)],
                ),
                *_logits(opened, number),
            ],
        ),
        part.group("Inferences and contrast", [part.sides([_where(opened, number)], [_contrast(opened, number)])]),
        part.group("Features beside it", [part.sides([_together(opened, number)], [_nearest(opened, number)])]),
        part.group("Think or word?", phase(opened, number)),
    ]


def _contexts(opened: Opened, number: int) -> list[Part]:
    view, reach = opened.view, snippet_packing.REACH
    positions = opened.ask(queries.context_positions, view.hookpoint, number, view.scope, pages=view.pages)
    places = shown_contexts(positions)
    pairs = tuple(zip(places["inference"].tolist(), places["position"].tolist(), strict=True))
    tokens = opened.ask(queries.context_tokens, view.hookpoint, number, pairs, reach, reach)
    stored = opened.ask(queries.inferences)
    lengths = dict(zip(stored["inference"], stored["prompt_tokens"] + stored["generated_tokens"], strict=True))
    drawn: Part = {"kind": "snippets", "data": snippet_packing.payload(places, tokens, lengths, positions=positions)}
    columns = (
        Column("place", "Context"), Column("inference", "Inference"), Column("position", "Position"),
        Column("text", "Token", token=True), Column("activation", "Activation", 2),
    )  # fmt: skip
    return [drawn, part.table("Their tokens", f"contexts of feature {number}", tokens, columns, folded=True)]


def _top_tokens(opened: Opened, number: int, title: str, inference: int | None) -> Part:
    view = opened.view
    table = opened.ask(queries.top_tokens, view.hookpoint, number, inference=inference, scope=view.scope)
    columns = (
        Column("text", "Token", token=True), Column("token_id", "Id"),
        Column("max_activation", "Maximum", 2, bar=part.largest(table, "max_activation")),
        Column("mean_activation", "Mean", 2), Column("count", "Times"),
    )  # fmt: skip
    return part.table(title, f"top tokens of feature {number}: {title.lower()}", table, columns)


def _logits(opened: Opened, number: int) -> list[Part]:
    """Nothing until they are computed."""
    table = opened.ask(queries.promoted_tokens, opened.view.hookpoint, number)
    if table.empty:
        return []
    columns = (Column("text", "Token", token=True), Column("token_id", "Id"), Column("logit", "Logit", 3))
    return [
        part.sides(
            *(
                [part.table(f"Tokens {sign}", f"tokens {sign} by feature {number}", of_sign, columns)]
                for sign in ("promoted", "suppressed")
                for of_sign in [table.loc[table["sign"] == sign].reset_index(drop=True)]
            )
        )
    ]


def _where(opened: Opened, number: int) -> Part:
    view = opened.view
    table = opened.ask(queries.feature_inferences, view.hookpoint, number, view.scope)
    table = table.merge(opened.ask(queries.inferences)[["inference", "verdict"]], on="inference")
    table["verdict"] = [verdict_words.signed(verdict) for verdict in table["verdict"]]
    columns = (
        Column("inference", "Inference"), Column("verdict", "Verdict"), Column("rank", "Rank"),
        Column("max_activation", "Maximum", 2, bar=part.largest(table, "max_activation")),
        Column("positions", "Positions"), Column("peak_position", "Peak at"),
    )  # fmt: skip
    return part.table(f"Fires in {len(table)} inferences", f"feature {number} by inference", table, columns)


def _contrast(opened: Opened, number: int) -> Part:
    table = opened.ask(queries.feature_contrast, opened.view.hookpoint, number)
    return part.table("Contrast", f"contrast of feature {number}", table, _SIDES)


def _together(opened: Opened, number: int) -> Part:
    view = opened.view
    table = opened.ask(queries.fires_with, view.hookpoint, number, view.scope)
    columns = [Column("share", "Share", 1, "%", bar=1), Column("lift", "Lift", 2)]
    return _beside(opened, table, "Fires together with", f"features that fire with {number}", columns)


def _nearest(opened: Opened, number: int) -> Part:
    table = opened.ask(queries.neighbours, opened.view.hookpoint, number)
    columns = [Column("cosine", "Cosine", 2, bar=1)]
    return _beside(opened, table, "Nearest decoder rows", f"features near {number}", columns)


def _beside(opened: Opened, table: pd.DataFrame, title: str, name: str, columns: list[Column]) -> Part:
    shown = [Column("feature", "Feature"), CALLED, Column("positions", "Positions"), *columns]
    return part.table(title, name, with_labels(opened, table), shown)
