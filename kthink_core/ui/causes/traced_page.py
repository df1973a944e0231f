"""A trace on a page whose causes are asked for: stored or just made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
import streamlit as st

from kthink_core.errors import BadFile
from kthink_core.live.study_requests import AblationRequest, AttributionRequest, StoredTrace, Trace
from kthink_core.store.causal_studies import (
    AblationQuestion,
    AblationStudy,
    AttributionQuestion,
    AttributionStudy,
    Traced,
    causal_id,
)
from kthink_core.store.files import Layout
from kthink_core.store.studies import made_with, read_study, trace_digest
from kthink_core.ui.live import job_button
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

Kind = TypeVar("Kind", AblationStudy, AttributionStudy)


@dataclass(frozen=True)
class TracedPage:
    """What a page shows of a trace."""

    page: Page
    trace: Trace
    """As the worker is asked about it."""
    called: str
    """`inference 3`: names its tables and files."""
    tokens: pd.DataFrame
    """As `queries.transcript` has them."""
    shown: tuple[int, ...]
    """Features of the view's hookpoint, the main one first."""
    span: tuple[int, int] | None
    """What is marked in it."""
    choose: Callable[[int], None]
    """Makes a feature the main one."""
    steered: bool = False
    """Whether it was written under steering."""

    def ablation(self, question: AblationQuestion) -> AblationStudy | None:
        """The answer, where there is one: else what has it made."""
        request = AblationRequest(trace=self.trace, question=question)
        return self._answer(request, AblationStudy, "Set it to 0", "features")

    def attribution(self, question: AttributionQuestion) -> AttributionStudy | None:
        """Likewise."""
        request = AttributionRequest(trace=self.trace, question=question)
        return self._answer(request, AttributionStudy, "Find what it depends on", "steps")

    def _answer(
        self, request: AblationRequest | AttributionRequest, model: type[Kind], label: str, what: str
    ) -> Kind | None:
        found = self._stored(request, model)
        if found is not None:
            return found
        last = job_button.watch_of(request.kind)
        if last is None or last.request != request or last.document is None:
            otherwise = f", or ask on the command line with `{'ablate' if model is AblationStudy else 'attribute'}`"
            last = job_button.draw(self.page, request.kind, request, label, what, otherwise=otherwise)
        return None if last is None or last.document is None else model.model_validate(last.document)

    def _stored(self, request: AblationRequest | AttributionRequest, model: type[Kind]) -> Kind | None:
        if not isinstance(self.trace, StoredTrace):
            return None
        page, question = self.page, request.question
        made = made_with(page.experiment, [question.hookpoint], "", "")
        id = causal_id(self.traced, question, made)
        layout = Layout(page.source.cache / page.source.experiment)
        try:
            return read_study(layout, page.experiment, request.kind, id, model)
        except BadFile as error:
            st.warning(f"The stored result does not count: {plain(str(error))}", icon=":material/warning:")
            return None

    @property
    def traced(self) -> Traced:
        """Which trace it is."""
        return Traced(
            inference=self.trace.inference if isinstance(self.trace, StoredTrace) else None,
            digest=trace_digest(self.tokens["token_id"].tolist()),
            prompt_tokens=self.tokens["segment"].tolist().count("prompt"),
            tokens=len(self.tokens),
        )
