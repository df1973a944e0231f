"""An open experiment: every query as a method that returns a table.

    from kthink_core import open_experiment

    with open_experiment("demo") as demo:
        tokens = demo.top_tokens("layers.6.mlp", 767)

A method's name is that of the query on the command line, with `_` for `-`; its columns are those printed there, and
sometimes more, as its documentation says. What is to be known of an answer, such as what was left out of it, comes as a
warning of the kind `Remark`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self

import pandas as pd
import pyarrow as pa

from kthink_core import listing, queries
from kthink_core.config import Device, Experiment, check_name
from kthink_core.evidence import (
    ablation_results,
    attribution_results,
    difference_table,
    duplicates,
    injection_results,
    label_test,
    passport,
    reason_score,
    same_tokens,
    sentence_results,
    sweep_results,
    think_or_word,
)
from kthink_core.evidence import differences as contrasts
from kthink_core.scripting import findings
from kthink_core.scripting.bound_query import BoundQuery, Table
from kthink_core.scripting.encoder import Encoder, Where
from kthink_core.settings import Settings, from_environment
from kthink_core.store.reader import Reader, open_reader


class Remark(UserWarning):
    """What to know before believing an answer."""


class OpenExperiment(Generic[Table]):
    """What was stored of an experiment at the moment it was opened. Made by `open_experiment`; threads may share it."""

    def __init__(self, reader: Reader, encoder: Encoder, shaped: Callable[[pd.DataFrame], Table]) -> None:
        self.reader = reader
        """What every function of `queries` and `evidence` takes first, and `contrast` as `other`."""
        self._encoder = encoder
        self._shaped = shaped

    inferences = BoundQuery(queries.inferences)
    questions = BoundQuery(queries.questions)
    transcript = BoundQuery(queries.transcript)
    feature_activations = BoundQuery(queries.feature_activations)
    feature_frequencies = BoundQuery(queries.feature_frequencies)
    relevant_features = BoundQuery(queries.relevant_features)
    ranked_features = BoundQuery(queries.ranked_features)
    alternatives = BoundQuery(queries.alternatives)
    branches = BoundQuery(queries.branches)
    token_features = BoundQuery(queries.token_features)
    feature_tracks = BoundQuery(queries.feature_tracks)
    span_features = BoundQuery(queries.span_features)
    steps = BoundQuery(queries.steps)
    activation_histogram = BoundQuery(queries.activation_histogram)

    feature_counts = BoundQuery(queries.feature_counts)
    feature_table = BoundQuery(queries.feature_table)
    feature_search = BoundQuery(queries.feature_search)
    feature_matrix = BoundQuery(queries.feature_matrix)
    feature_maxima = BoundQuery(queries.feature_maxima)
    feature_shares = BoundQuery(queries.feature_shares)
    feature_percentiles = BoundQuery(queries.feature_percentiles)
    top_tokens_of = BoundQuery(queries.top_tokens_of)

    feature_summary = BoundQuery(queries.feature_summary)
    top_tokens = BoundQuery(queries.top_tokens)
    feature_inferences = BoundQuery(queries.feature_inferences)
    feature_contrast = BoundQuery(queries.feature_contrast)
    feature_histogram = BoundQuery(queries.feature_histogram)
    contexts = BoundQuery(queries.contexts)
    context_positions = BoundQuery(queries.context_positions)
    context_tokens = BoundQuery(queries.context_tokens)
    fires_with = BoundQuery(queries.fires_with)
    feature_pair = BoundQuery(queries.feature_pair)
    neighbours = BoundQuery(queries.neighbours)
    promoted_tokens = BoundQuery(queries.promoted_tokens)

    quality = BoundQuery(passport.passport)
    quality_by_inference = BoundQuery(queries.quality_by_inference)
    norms = BoundQuery(queries.norms)
    first_norms = BoundQuery(queries.first_norms)
    norm_histogram = BoundQuery(queries.norm_histogram)
    sinks = BoundQuery(queries.sinks)

    reason_score = BoundQuery(reason_score.reason_score)
    contrast = BoundQuery(contrasts.contrast)
    differences = BoundQuery(difference_table.differences)
    token_differences = BoundQuery(same_tokens.token_differences)
    feature_differences = BoundQuery(same_tokens.feature_differences)
    families = BoundQuery(duplicates.families)
    label_test = BoundQuery(label_test.label_test)
    injection = BoundQuery(injection_results.injection)
    think_or_word_tokens = BoundQuery(think_or_word.think_or_word_tokens)
    think_or_word = BoundQuery(think_or_word.think_or_word)

    interventions = BoundQuery(queries.interventions)
    steering_checks = BoundQuery(queries.steering_checks)
    sweeps = BoundQuery(sweep_results.sweeps)
    sweep = BoundQuery(sweep_results.figures)
    sweep_runs = BoundQuery(sweep_results.runs)
    steer_eval = BoundQuery(sweep_results.steered)
    ablation = BoundQuery(ablation_results.ablations)
    ablation_effects = BoundQuery(ablation_results.ablation_effects)
    attribution = BoundQuery(attribution_results.attributions)
    attribution_checks = BoundQuery(attribution_results.attribution_checks)
    sentences = BoundQuery(sentence_results.sentences)

    @property
    def experiment(self) -> Experiment:
        """Configuration, SAEs and provenance."""
        return self.reader.experiment

    @property
    def _cache(self) -> Path:
        return self.reader.layout.folder.parent

    @property
    def arrow(self) -> OpenExperiment[pa.Table]:
        """The same experiment, answering with Arrow tables: `demo.arrow.top_tokens(…)`."""
        return OpenExperiment(self.reader, self._encoder, _as_arrow)

    def sql(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Table:
        """The answer to one statement of DuckDB's SQL over the tables of docs/store.md. Values go into `parameters`, as
        `?` or `$name` of the statement. Raises what DuckDB raises, CorruptFile, StoreUnavailable."""
        return self._shaped(self.reader.query(statement, parameters))

    def labels(self, hookpoint: str) -> Table:
        """The labels of a hookpoint's features; see `findings.labels`."""
        return self._shaped(findings.labels(self._cache, self.experiment, hookpoint))

    def notes(self) -> Table:
        """What was written about its features, inferences and spans; see `findings.notes`."""
        return self._shaped(findings.notes(self._cache, self.experiment))

    def lists(self) -> Table:
        """The lists of features, as far as they hold some of its SAEs; see `findings.lists`."""
        return self._shaped(findings.lists(self._cache, self.experiment))

    def encode(
        self,
        text: str,
        hookpoints: Sequence[str] = (),
        where: Where = "auto",
        device: Device = "auto",
        *,
        special: bool = False,
    ) -> Table:
        """The active features of a text as it is, by the experiment's model and SAEs: hookpoint, position, token_id,
        text, feature, activation.

        In the order of the hookpoints (all of the experiment where none is given), then by position (from 0), then by
        activation, largest first, then by feature. A position at which nothing is active has no row. No template is
        put around the text, and nothing is generated. `special`: names of special tokens in it are these tokens.

        `where`: "worker", the running one that KTHINK_WORKER_URL, _HOST and _PORT lead to; "here", in this process,
        which loads the model once, onto `device`, and needs torch; "auto", the worker if there is one with this model
        and these SAEs at this site, else here. Last bits may differ between the two.

        Raises UnknownName for a hookpoint; BadValue for an empty text, and for a worker that has another model or
        other SAEs; PromptRefused for a text that is too long; WorkerMissing, WorkerRefused, WorkerLost,
        ExperimentMismatch, and what loading raises.
        """
        return self._shaped(self._encoder.encode(text, tuple(hookpoints), where, device, special=special))

    def answer(self, query: str, table: pd.DataFrame, given: dict[str, Any]) -> Table:
        """Warn of what there is to know of the answer to a query of the command line, and hand it over."""
        known = listing.QUERIES.get(query)
        if known and known.remarks:
            _warn(known.remarks(self.reader, table, given), level=4)
        return self._shaped(table)

    def close(self) -> None:
        """Ends it; what is asked from now on fails."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        config = self.experiment.config
        inferences, site = f"{self.reader.inferences:,} inferences", config.site
        return f"<experiment {self.experiment.name}: {inferences}, {' '.join(config.hookpoints)}, site {site}>"


def open_experiment(name: str, cache: Path | str | None = None) -> OpenExperiment[pd.DataFrame]:
    """Opens what is stored of an experiment now; close it, or use it as a context.

    `cache`: the folder of the experiments; as on the command line KTHINK_CACHE, or else `cache`, where not given.
    Inferences that cannot be read are left out with a `Remark`. Raises BadValue for what is no name, UnknownName,
    CorruptFile, StoreUnavailable, ForeignFile, SchemaTooNew, SchemaTooOld, OSError.
    """
    check_name(name)
    reader = open_reader(_folder(cache), name)
    _warn(reader.warnings, level=3)
    return OpenExperiment(reader, Encoder(reader.experiment), _as_it_is)


def experiments(cache: Path | str | None = None) -> pd.DataFrame:
    """The experiments of a folder, by name: experiment, model, sae, hookpoints, site, mode, done (how many inferences
    are stored), of (how many there will be), problem (why one cannot be read). `cache` as for `open_experiment`."""
    return listing.experiments_table(_folder(cache))


def _folder(cache: Path | str | None) -> Path:
    return from_environment(Settings).cache if cache is None else Path(cache)


def _warn(lines: Sequence[str], level: int) -> None:
    """`level`: how far up the caller is whose line the warning names."""
    for line in lines:
        warnings.warn(line, Remark, stacklevel=level)


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


def _as_arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
