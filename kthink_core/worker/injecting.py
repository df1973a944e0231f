"""The test of stored features by token injection, as a job of the worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kthink_core.evidence.injection_run import Materials, check_texts, run
from kthink_core.evidence.injection_test import LENGTH, TEXTS
from kthink_core.live.api import Event, InjectRequest, Progressed
from kthink_core.model.feature_maxima import FeatureMaxima
from kthink_core.model.language_model import token_text
from kthink_core.precompute.pipeline import Plan
from kthink_core.precompute.plain_texts import plain_texts
from kthink_core.queries.checks import check_features
from kthink_core.store.reader import Reader, open_reader
from kthink_core.worker.jobs import Outcome
from kthink_core.worker.same_maker import check_made_by


def check_testable(reader: Reader, plan: Plan, asked: InjectRequest) -> None:
    """Raises UnknownName, OutOfRange; PromptRefused where the worker has another model, SAE or capture site."""
    check_features(reader, asked.hookpoint, asked.features)
    check_made_by(reader, plan, (asked.hookpoint,))


def examine_feature(
    cache: Path, asked: InjectRequest, plan: Plan, pause: Callable[[], None]
) -> Iterator[Event | Outcome]:
    """Test features and store each result. Raises as `check_testable` and `injection_run.run` do."""
    config, lm = plan.experiment.config, plan.lm
    with open_reader(cache, asked.experiment) as reader:
        check_testable(reader, plan, asked)
        texts = plain_texts(lm.tokenizer, config, None, LENGTH, TEXTS)
        check_texts(texts.token_ids, texts.short, texts.source)
        sae = plan.saes.by_hookpoint[asked.hookpoint]
        probe = FeatureMaxima(lm, sae, asked.hookpoint, config.site, texts.token_ids, pause)
        word = partial(token_text, lm.tokenizer)
        materials = Materials(reader, asked.hookpoint, probe, word, texts.source, asked.seed)
        for step in run(materials, asked.features):
            pause()
            yield Progressed(done=step.done, of=step.of)
    yield Outcome()
