"""What a branch begins with: a trace up to a position, then the tokens that are put there in the place of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import OutOfRange, PromptRefused
from kthink_core.identity import maker
from kthink_core.live.branch import Branch
from kthink_core.live.study_requests import StoredTrace
from kthink_core.model.language_model import LanguageModel
from kthink_core.precompute.pipeline import Plan
from kthink_core.prompts import Segment, Segmenter, think_close
from kthink_core.queries.checks import check_inference
from kthink_core.records import Inference, hookpoints_needed
from kthink_core.store.reader import Reader, open_reader
from kthink_core.worker.same_maker import check_made_by


class Begun(NamedTuple):
    """The exact tokens, and where they are from. What goes on from them is steered as the trace was."""

    trace: Inference
    token_ids: tuple[int, ...]
    """Prompt and what was written up to the position, then what is put there."""
    position: int
    """The first that is not the trace's own."""
    experiment: str | None
    inference: int | None
    """Where the trace is stored; None of a live run."""

    @property
    def given(self) -> int:
        """Tokens of the prompt."""
        return self.trace.prompt_tokens

    @property
    def written(self) -> int:
        """Tokens behind it."""
        return len(self.token_ids) - self.given

    def segments(self, lm: LanguageModel) -> tuple[list[Segment], Segmenter]:
        """Of the tokens: the trace's own as it has them; and what tells those that follow."""
        close, labels = think_close(lm.tokenizer), list(self.trace.segments[: self.position])
        answers = "answer" in labels or self.trace.mode == "bypass"
        segmenter = Segmenter("bypass" if answers else "think", close)
        for token_id, label in zip(self.token_ids, labels, strict=False):
            if label == "think":
                segmenter.next(token_id)
        return [*labels, *(segmenter.next(token_id) for token_id in self.token_ids[self.position :])], segmenter


def begun(
    cache: Path,
    asked: Branch,
    plan: Plan,
    written: Callable[[str], Inference],
    ids_of: Callable[[str], Sequence[int]],
) -> Begun:
    """`written`: what a job has made, by its id; `ids_of`: the tokens of a text. Raises PromptRefused, OutOfRange,
    UnknownName, and what opening an experiment raises."""
    if isinstance(asked.trace, StoredTrace):
        with open_reader(cache, asked.trace.experiment) as reader:
            check_inference(reader, asked.trace.inference)
            _check_model(reader, plan)
            trace = reader.inference(asked.trace.inference)
            check_made_by(reader, plan, tuple(hookpoints_needed(trace.interventions)))
            experiment, number = reader.experiment.name, asked.trace.inference
    else:
        trace, experiment, number = written(asked.trace.job), None, None
    before, length = tuple(map(int, trace.token_ids[: asked.position])), len(trace.token_ids)
    first = max(trace.prompt_tokens, 1)
    if not first <= asked.position <= length:
        raise PromptRefused(f"a branch begins behind the prompt, at position {first} to {length}, not {asked.position}")
    forced = tuple(ids_of(asked.text)) if asked.text else () if asked.token_id is None else (asked.token_id,)
    for token_id in forced:
        if token_id >= plan.lm.vocabulary:
            raise OutOfRange("token id", token_id, plan.lm.vocabulary)
    stops = set(plan.lm.stop_ids.tolist())
    if stops & {*forced, before[-1]}:
        raise PromptRefused("the trace ends with that token: nothing would be written after it")
    return Begun(trace, before + forced, asked.position, experiment, number)


def _check_model(reader: Reader, plan: Plan) -> None:
    """Raises PromptRefused where the worker has another model."""
    here, there = (
        maker(experiment, next(iter(experiment.saes))) for experiment in (plan.experiment, reader.experiment)
    )
    if here is None or there is None or here.model != there.model:
        raise PromptRefused(
            f"experiment '{reader.experiment.name}' was made with another model than this worker has; start a worker "
            f"with --experiment {reader.experiment.name}"
        )
