"""An experiment opened at a view, without a server: what the parts of a saved page ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Concatenate, ParamSpec

import pandas as pd

from kthink_core import queries
from kthink_core.config import Experiment
from kthink_core.errors import KthinkError
from kthink_core.identity import same_features
from kthink_core.notes import FILE, FeatureLists, Notebook, of_feature
from kthink_core.queries.trace import StoredTrace
from kthink_core.store.reader import ExperimentStatus, Reader, open_reader
from kthink_core.ui.parts import naming
from kthink_core.ui.view.list_link import NONE
from kthink_core.ui.view.measures import measures_of
from kthink_core.ui.view.permalink import View

Arguments = ParamSpec("Arguments")

LISTED = 100
"""Features of a trace in its table, and in the list beside its tokens."""
_ALL = 2**31 - 1


@dataclass(frozen=True)
class Opened:
    """One experiment at a view; others are opened when they are asked for, and closed with it."""

    cache: Path
    statuses: Sequence[ExperimentStatus]
    """The experiments that may be opened."""
    reader: Reader
    view: View
    closing: ExitStack
    notes_of: tuple[str, ...] | None = None
    """The experiments of which there may be word, their labels included; None: all."""

    @property
    def experiment(self) -> Experiment:
        return self.reader.experiment

    @property
    def inferences(self) -> tuple[int, ...]:
        return self.reader.inference_ids

    def sees(self, experiment: str) -> bool:
        """Whether its name may be told."""
        return self.notes_of is None or experiment in self.notes_of

    def ask(
        self,
        query: Callable[Concatenate[Reader, Arguments], pd.DataFrame],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> pd.DataFrame:
        """The answer to a function of `queries`."""
        return query(self.reader, *args, **kwargs)

    def at(self, view: View) -> Opened:
        """The same experiment at another view."""
        return replace(self, view=view)

    def beside(self, name: str) -> Opened:
        """Another experiment under the same view, as far as it has the same hookpoint and inference. Raises
        KthinkError, OSError."""
        reader = self.closing.enter_context(open_reader(self.cache, name))
        saes, inferences, view = reader.experiment.saes, reader.inference_ids, self.view
        hookpoint = view.hookpoint if view.hookpoint in saes else next(reversed(saes))
        inference = view.inference if view.inference in inferences or not inferences else inferences[0]
        there = replace(view, experiment=name, hookpoint=hookpoint, inference=inference, other=None, against=None)
        if hookpoint != view.hookpoint or not same_features(self.experiment, reader.experiment, hookpoint):
            there = replace(there, feature=None, also=(), watch=(), locked=None, sought=None)
        return replace(self, reader=reader, view=there)

    @cached_property
    def yardstick(self) -> Opened | None:
        """What its features are measured by: itself, or of kept runs an experiment of a problem set."""
        if not self.experiment.open_ended:
            return self
        for name in measures_of(self.experiment, self.view.hookpoint, self.statuses):
            with suppress(KthinkError, OSError):  # another will do
                return self.beside(name)
        return None

    def labels(self, features: Iterable[int]) -> dict[int, str]:
        """Of those of the view's hookpoint that have one. None where the notes cannot be read."""
        about = of_feature(self.experiment, self.view.hookpoint, 0)
        with suppress(KthinkError):
            return self._book.labels(about.sae, about.sae_revision, about.hookpoint, features)
        return {}

    def labelled(self, text: str) -> list[int]:
        """The features of the view's hookpoint one of whose labels contains a text, in whatever case."""
        with suppress(KthinkError):
            found = self._book.all_labels(of_feature(self.experiment, self.view.hookpoint, 0), containing=text)
            return list(dict.fromkeys(label.feature for label in found))
        return []

    @property
    def listed(self) -> tuple[str, tuple[int, ...] | None]:
        """The name of the view's list and what it holds at the view's hookpoint, in its order: of one that is not here,
        no name and what the link holds. None where the view has no list."""
        given, view = self.view.list, self.view
        if given == NONE:
            return "", None
        lists = FeatureLists(self.cache / FILE, within=self.notes_of)
        with suppress(KthinkError):
            found = lists.find(given.id)
            if found is not None and not found.deleted:
                size = self.experiment.saes[view.hookpoint].num_latents
                held = lists.beside(found.id, of_feature(self.experiment, view.hookpoint, 0))
                return found.name, tuple(feature for feature in held if feature < size)
        return "", given.features if given.hookpoint == view.hookpoint else ()

    @property
    def _book(self) -> Notebook:
        return Notebook(self.cache / FILE, within=self.notes_of)

    def tokens(self, features: Iterable[int]) -> dict[int, str]:
        """The three top tokens of each that fires, in a line, as pages have them."""
        whole, found = self.yardstick or self, dict[int, str]()
        if self.view.hookpoint not in whole.experiment.saes:
            return found
        for scope in naming.SCOPES:
            nameless = tuple(sorted({*map(int, features)} - found.keys()))
            texts = naming.by_feature(whole.ask(queries.top_tokens_of, self.view.hookpoint, nameless, scope))
            found |= {feature: naming.of_tokens(own) for feature, own in texts.items()}
        return found

    def names(self, features: Sequence[int]) -> dict[int, str]:
        """The label of each, else its top tokens."""
        return self.tokens(features) | self.labels(features)

    def ranked(self) -> pd.DataFrame:
        """The first features of the view's inference, by its ranking."""
        view = self.view
        by_lift = self.experiment.open_ended and view.ranking == "lift"
        trace = StoredTrace(self.ask, view.inference, queries.RANKINGS[0] if by_lift else view.ranking)
        found = trace.ranked(view.hookpoint, view.scope, _ALL if by_lift else LISTED)
        if self.experiment.open_ended:
            found = self._with_lift(found)
        if by_lift and "lift" in found:
            order = ["lift", "max_activation", "feature"]
            found = found.sort_values(order, ascending=[False, False, True], na_position="first", ignore_index=True)
        return found.head(LISTED).assign(rank=range(1, min(LISTED, len(found)) + 1))

    def first_feature(self) -> int:
        """The one to show of an inference where the view names none."""
        if self.view.feature is not None:
            return self.view.feature
        ranked = self.ranked()["feature"].tolist()
        return int(ranked[0]) if ranked else 0

    def stored(self, inference: int) -> Mapping[str, object]:
        """The row of an inference in `queries.inferences`."""
        rows = self.ask(queries.inferences).to_dict("records")
        return {str(name): value for name, value in next(row for row in rows if row["inference"] == inference).items()}

    def maxima(self, features: tuple[int, ...]) -> dict[int, float]:
        """The largest activation of each feature in scope of the whole experiment that it is measured by."""
        whole = self.yardstick or self
        found = whole.ask(queries.feature_maxima, self.view.hookpoint, features, self.view.scope)
        return dict(zip(found["feature"].tolist(), found["max_activation"].tolist(), strict=True))

    def _with_lift(self, ranked: pd.DataFrame) -> pd.DataFrame:
        whole, ranked = self.yardstick, ranked.drop(columns="lift", errors="ignore")
        if whole is None or not whole.inferences:
            return ranked
        features = tuple(ranked["feature"].tolist())
        usual = whole.ask(queries.feature_shares, self.view.hookpoint, features, self.view.scope)["share"]
        return ranked.assign(lift=ranked["share"] / usual.where(usual > 0))


@contextmanager
def opened(
    cache: Path, statuses: Sequence[ExperimentStatus], reader: Reader, view: View, notes_of: tuple[str, ...] | None
) -> Iterator[Opened]:
    """Until the end of the block."""
    with ExitStack() as closing:
        yield Opened(cache, statuses, reader, view, closing, notes_of)
