"""The very tokens of an experiment of the cache, to pass through another model, or to be encoded by other SAEs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadProblems, short
from kthink_core.model.language_model import LanguageModel, token_text
from kthink_core.records import Generation, Given, Problem, Prompt
from kthink_core.store.reader import open_reader

_SHOWN = 4
"""Tokens that a message names."""
_FACTS = "problem, question, reference, mode, seed, prompt_tokens, finish_reason, answer, correct, tags"


class StoredTraces:
    """`traces.Traces` of an experiment: inference i is its inference i, position by position; a number that it does not
    have, as of a kept run that was deleted, there is not here either."""

    def __init__(self, cache: Path, name: str, config: ExperimentConfig, lm: LanguageModel) -> None:
        """Raises BadProblems, and what opening an experiment raises."""
        self._source = config.traces or ""
        self._reader = open_reader(cache, name)
        self.numbers: Sequence[int] = self._asked(config.limit)
        self.lengths: Mapping[int, int] = {}
        self.notices: Sequence[str] = self._read_otherwise(lm, by_id=config.by_id)
        self.digest = self._checked(lm)

    def read(self, trace: int) -> Generation:
        tokens = self._ask("token_id, segment::VARCHAR AS segment FROM tokens", trace, "ORDER BY position")
        [facts] = self._ask(f"{_FACTS} FROM inferences", trace)
        token_ids, given = tuple(row["token_id"] for row in tokens), facts["prompt_tokens"]
        problem = Problem(facts["problem"], facts["question"], facts["reference"])
        told = Given(tuple(row["segment"] for row in tokens), facts["answer"], facts["correct"], tuple(facts["tags"]))
        prompt = Prompt(trace, problem, facts["mode"], facts["seed"], token_ids[:given])
        return Generation(prompt, token_ids[given:], facts["finish_reason"], told)

    def _asked(self, limit: int | None) -> Sequence[int]:
        """The first ones that it has once it is complete. Raises BadProblems where they are not there yet."""
        stored, there = self._reader.experiment, self._reader.inference_ids
        complete = stored.open_ended or stored.is_imported or len(there) == stored.inferences
        wanted = there[:limit] if complete else tuple(range(stored.inferences))[:limit]
        if not there and stored.open_ended:
            raise BadProblems(f"--traces {self._source}: it holds no inferences")
        if not there or wanted != there[: len(wanted)]:
            raise BadProblems(
                f"--traces {self._source}: {len(there)} of its {stored.inferences} inferences are there, "
                "not all that are asked for; run its precompute first, or take fewer with --limit"
            )
        return wanted

    def _ask(self, what: str, trace: int, order: str = "") -> list[dict[str, Any]]:
        sql = f"SELECT {what} WHERE inference = $inference {order}"
        with self._reader.stream(sql, {"inference": trace}) as batches:
            return batches.read_all().to_pylist()

    def _checked(self, lm: LanguageModel) -> str:
        """The digest. Reads all of them."""
        whole, lengths = hashlib.sha256(), dict[int, int]()
        for trace in self.numbers:
            made = self.read(trace)
            lengths[trace] = len(made.prompt.token_ids) + len(made.token_ids)
            if lengths[trace] > lm.context:
                raise BadProblems(
                    f"--traces {self._source}: inference {trace} has {lengths[trace]:,} tokens, more than the model's "
                    f"context of {lm.context:,}"
                )
            whole.update(repr(made).encode())
        self.lengths = lengths
        return f"sha256:{whole.hexdigest()[:16]}"

    def _read_otherwise(self, lm: LanguageModel, *, by_id: bool) -> tuple[str, ...]:
        """What to tell of tokens that are another text to the model's tokenizer. Raises BadProblems where there are
        any, unless ids are asked for `by_id`; and where the model has no such id."""
        table = self._reader.query("SELECT token_id, min(text) AS text FROM tokens GROUP BY token_id ORDER BY token_id")
        known = dict(zip(table["token_id"].tolist(), table["text"].tolist(), strict=True))
        strange = [token_id for token_id in known if not 0 <= token_id < lm.vocabulary]
        apart = [token_id for token_id in known if token_id not in strange]
        apart = [token_id for token_id in apart if token_text(lm.tokenizer, token_id) != known[token_id]]
        told = [f"{one} is {short(repr(known[one]))} there and no token of the model" for one in strange[:_SHOWN]]
        told += [
            f"{one} is {short(repr(known[one]))} there and {short(repr(token_text(lm.tokenizer, one)))} to the model"
            for one in apart[: _SHOWN - len(told)]
        ]
        if not told:
            return ()
        many = f"{len(strange) + len(apart)} of its {len(known)} tokens: {'; '.join(told)}"
        if by_id and not strange:
            return (f"the model's tokenizer reads otherwise {many}",)
        remedy = "" if strange else "; --by-id takes the ids as they are"
        raise BadProblems(f"--traces {self._source}: another tokenizer wrote it and reads otherwise {many}{remedy}")
