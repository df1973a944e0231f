"""What takes longer than a live prompt: which part of the project does it, and whether the worker can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kthink_core.live.api import InjectRequest
from kthink_core.live.study_requests import AblationRequest, AttributionRequest, SentencesRequest, SweepRequest
from kthink_core.precompute.pipeline import Plan
from kthink_core.records import Inference
from kthink_core.store.reader import open_reader
from kthink_core.worker.causes import check_causes, map_causes
from kthink_core.worker.injecting import check_testable, examine_feature
from kthink_core.worker.jobs import Work
from kthink_core.worker.rolling_out import check_rollable, roll_out_sentences
from kthink_core.worker.sweeping import check_sweepable, sweep_features

Asked = InjectRequest | SweepRequest | AblationRequest | AttributionRequest | SentencesRequest
Written = Callable[[str], Inference]
"""What a job has just made, by its id. Raises PromptRefused."""


def studying(cache: Path, asked: Asked, plan: Plan, written: Written) -> Work:
    """What does a study. Raises at once what can be seen before it begins: UnknownName, OutOfRange, PromptRefused."""
    if isinstance(asked, InjectRequest):
        with open_reader(cache, asked.experiment) as reader:
            check_testable(reader, plan, asked)
        return partial(examine_feature, cache, asked)
    if isinstance(asked, SweepRequest):
        with open_reader(cache, asked.experiment) as reader:
            check_sweepable(reader, plan, asked)
        return partial(sweep_features, cache, asked)
    if isinstance(asked, AblationRequest | AttributionRequest):
        return partial(map_causes, cache, asked, check_causes(cache, asked, plan, written))
    with open_reader(cache, asked.trace.experiment) as reader:
        check_rollable(reader, plan, asked)
    return partial(roll_out_sentences, cache, asked)
