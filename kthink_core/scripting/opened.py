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
    duplicates,
    injection_results,
    label_test,
    passport,
    reason_score,
    sentence_results,
    sweep_results,
)
from kthink_core.evidence import differences as contrasts
from kthink_core.scripting.encoder import Encoder, Where
from kthink_core.scripting.question import Question, Table
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

    inferences = Question(queries.inferences)
    questions = Question(queries.questions)
    transcript = Question(queries.transcript)
    feature_activations = Question(queries.feature_activations)
    feature_frequencies = Question(queries.feature_frequencies)
    relevant_features = Question(queries.relevant_features)
    ranked_features = Question(queries.ranked_features)
    token_features = Question(queries.token_features)
    feature_tracks = Question(queries.feature_tracks)
    span_features = Question(queries.span_features)
    activation_histogram = Question(queries.activation_histogram)

    feature_counts = Question(queries.feature_counts)
    feature_table = Question(queries.feature_table)
    feature_search = Question(queries.feature_search)
    feature_matrix = Question(queries.feature_matrix)
    feature_maxima = Question(queries.feature_maxima)
    feature_shares = Question(queries.feature_shares)
    feature_percentiles = Question(queries.feature_percentiles)
    top_tokens_of = Question(queries.top_tokens_of)

    feature_summary = Question(queries.feature_summary)
    top_tokens = Question(queries.top_tokens)
    feature_inferences = Question(queries.feature_inferences)
    feature_contrast = Question(queries.feature_contrast)
    feature_histogram = Question(queries.feature_histogram)
    contexts = Question(queries.contexts)
    context_tokens = Question(queries.context_tokens)
    fires_with = Question(queries.fires_with)
    feature_pair = Question(queries.feature_pair)
    neighbours = Question(queries.neighbours)
    promoted_tokens = Question(queries.promoted_tokens)

    quality = Question(passport.passport)
    quality_by_inference = Question(queries.quality_by_inference)
    norms = Question(queries.norms)
    first_norms = Question(queries.first_norms)
    norm_histogram = Question(queries.norm_histogram)
    sinks = Question(queries.sinks)

    reason_score = Question(reason_score.reason_score)
    contrast = Question(contrasts.contrast)
    families = Question(duplicates.families)
    label_test = Question(label_test.label_test)
    injection = Question(injection_results.injection)

    interventions = Question(queries.interventions)
    steering_checks = Question(queries.steering_checks)
    sweeps = Question(sweep_results.sweeps)
    sweep = Question(sweep_results.figures)
    sweep_runs = Question(sweep_results.runs)
    steer_eval = Question(sweep_results.steered)
    ablation = Question(ablation_results.ablations)
    ablation_effects = Question(ablation_results.ablation_effects)
    attribution = Question(attribution_results.attributions)
    attribution_checks = Question(attribution_results.attribution_checks)
    sentences = Question(sentence_results.sentences)

    @property
    def experiment(self) -> Experiment:
        """Configuration, SAEs and provenance."""
        return self.reader.experiment

    @property
    def arrow(self) -> OpenExperiment[pa.Table]:
        """The same experiment, answering with Arrow tables: `demo.arrow.top_tokens(…)`."""
        return OpenExperiment(self.reader, self._encoder, _as_arrow)

    def sql(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Table:
        """The answer to one statement of DuckDB's SQL over the tables of docs/store.md. Values go into `parameters`, as
        `?` or `$name` of the statement. Raises what DuckDB raises, CorruptFile, StoreUnavailable."""
        return self._shaped(self.reader.query(statement, parameters))

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
