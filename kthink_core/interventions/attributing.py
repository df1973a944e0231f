"""What the prediction of some tokens of a trace owes to features, asked and answered, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kthink_core.errors import BadValue
from kthink_core.evidence.rank_correlation import rank_correlation
from kthink_core.interventions.subject import Step, Subject, plain, rounded
from kthink_core.model.ablation import Ablation, Target
from kthink_core.model.attribution import Attributed, Attribution, attribution
from kthink_core.model.language_model import token_text
from kthink_core.model.objective import Objective, of_answer, of_token
from kthink_core.store.causal_studies import (
    MOST_NODES,
    RUNNER_UP,
    AttributionQuestion,
    AttributionStudy,
    Before,
    Compared,
    Explained,
    Node,
    traced,
)

STRONGEST = 20
"""Features that are also set to 0, to see how far attribution is to be believed."""
CONTROLS = 10
"""Features drawn at random beside them."""


def check_attribution(subject: Subject, question: AttributionQuestion) -> None:
    """As far as it can be seen without a pass. Raises UnknownName, BadValue also where there is no answer to attribute
    to, or the rival is no single token."""
    subject.check_hookpoint(question.hookpoint)
    _objective(subject, question)


def attribute(
    subject: Subject, questions: Sequence[AttributionQuestion], pause: Callable[[], None]
) -> Iterator[Step | AttributionStudy]:
    """Steps, and the answers in the order of the questions, which differ in the hookpoint only: they share the passes.

    Raises as `check_attribution`; BadValue where there is no answer, or the rival is no single token; OutOfMemory,
    HookSkipped.
    """
    for question in questions:
        check_attribution(subject, question)
    of = len(questions) * (STRONGEST + CONTROLS) + 1
    yield Step(0, of)
    lm, inference, site = subject.lm, subject.inference, subject.experiment.config.site
    token_ids, prompt_tokens = subject.token_ids, inference.prompt_tokens
    steered = subject.steering()
    saes = {question.hookpoint: subject.saes[question.hookpoint] for question in questions}
    read = Ablation(lm, saes, site, token_ids, pause, steered, prompt_tokens)
    objective = _objective(subject, questions[0])
    if questions[0].rival == RUNNER_UP:
        objective = read.rivalled(objective)
    before = _token_before(objective, prompt_tokens)
    objectives = [objective, *([] if before is None else [Objective((before,))])]
    found = attribution(lm, saes, site, token_ids, objectives, pause, steered, prompt_tokens)
    for number, question in enumerate(questions):
        own = found[0].by_hookpoint[question.hookpoint]
        sums = _Sums(own, objective)
        nodes = sums.nodes()
        rest = sorted(set(sums.active.tolist()) - {node.feature for node in nodes[:STRONGEST]})
        drawn = np.random.default_rng(question.seed).permutation(np.array(rest, dtype=np.int64))[:CONTROLS].tolist()
        asked = [node.feature for node in nodes[:STRONGEST]] + drawn
        compared: dict[int, Compared] = {}
        targets = [Target(question.hookpoint, feature, range(max(objective.positions))) for feature in asked]
        for index, effect in read.values(targets, objective):
            contribution = rounded(sums.of(asked[index]))
            compared[index] = Compared(feature=asked[index], contribution=contribution, effect=rounded(effect))
            yield Step(1 + number * (STRONGEST + CONTROLS) + len(compared), of)
        every = [compared[index] for index in range(len(asked))]
        yield _answer(subject, question, objective, found, sums, nodes, every)


def _answer(
    subject: Subject,
    question: AttributionQuestion,
    objective: Objective,
    found: Sequence[Attribution],
    sums: _Sums,
    nodes: Sequence[Node],
    compared: Sequence[Compared],
) -> AttributionStudy:
    own = sums.own
    strongest = compared[: min(STRONGEST, len(nodes))]
    agreement = rank_correlation([one.contribution for one in strongest], [one.effect for one in strongest])
    tokens = subject.inference.token_ids
    return AttributionStudy(
        made=subject.made(question.hookpoint),
        trace=traced(subject.inference, subject.number),
        question=question,
        explained=tuple(
            Explained(
                position=position,
                text=token_text(subject.lm.tokenizer, int(tokens[position]))[:200],
                rival=token_text(subject.lm.tokenizer, objective.rivals[at])[:200] if objective.rivals else None,
            )
            for at, position in enumerate(objective.positions)
        ),
        value=found[0].value,
        nodes=tuple(nodes[:MOST_NODES]),
        active=len(sums.active),
        features_at=plain(own.contributions.sum(-1)),
        error_at=plain(own.error),
        constant_at=plain(own.constant),
        features_absolute=rounded(float(np.abs(own.contributions).sum(dtype=np.float64))),
        error_absolute=rounded(float(np.abs(own.error).sum(dtype=np.float64))),
        constant_absolute=rounded(float(np.abs(own.constant).sum(dtype=np.float64))),
        strongest=tuple(strongest),
        controls=tuple(compared[len(strongest) :]),
        rho=agreement.rho,
        rho_low=agreement.low,
        rho_high=agreement.high,
        before=_nothing_later(found, question.hookpoint, _token_before(objective, subject.inference.prompt_tokens)),
    )


class _Sums:
    """What features contribute over all positions."""

    def __init__(self, own: Attributed, objective: Objective) -> None:
        self.own = own
        fires = own.activations > 0
        fires[max(objective.positions) :] = False
        at, kept = fires.nonzero()
        self._positions = at
        self._features = own.features[at, kept]
        self._contributions = own.contributions[at, kept].astype(np.float64)
        self.active, self._place = np.unique(self._features, return_inverse=True)
        """Features that fire before the last explained token, ascending."""
        self._totals = np.bincount(self._place, self._contributions, len(self.active))

    def of(self, feature: int) -> float:
        """Σ A of an active feature."""
        return float(self._totals[np.searchsorted(self.active, feature)])

    def nodes(self) -> list[Node]:
        """By |Σ A|, the largest first, as many as are kept."""
        order = np.lexsort((self.active, -np.abs(self._totals)))[:MOST_NODES]
        return [self._node(int(place)) for place in order]

    def _node(self, place: int) -> Node:
        own = np.flatnonzero(self._place == place)
        contributions, positions = self._contributions[own], self._positions[own]
        peak = int(np.abs(contributions).argmax())
        return Node(
            feature=int(self.active[place]),
            contribution=rounded(float(contributions.sum())),
            absolute=rounded(float(np.abs(contributions).sum())),
            positions=len(own),
            peak=int(positions[peak]),
            at_peak=rounded(float(contributions[peak])),
        )


def _objective(subject: Subject, question: AttributionQuestion) -> Objective:
    """What is explained; a runner-up is known after a pass only."""
    lm, ids = subject.lm, subject.token_ids
    if question.position is None:
        found = of_answer(lm, ids, subject.inference.prompt_tokens)
    else:
        found = of_token(lm, ids, question.position)
    if question.rival in (None, RUNNER_UP):
        return found
    rival: list[int] = lm.tokenizer.encode(str(question.rival), add_special_tokens=False)
    if len(rival) != 1:
        raise BadValue(f"the rival is {len(rival)} tokens of this model: name a single one, spaces before it included")
    if len(found.positions) > 1:
        raise BadValue(f"the answer has {len(found.positions)} tokens, a rival is one: choose a position")
    return of_token(lm, ids, min(found.positions), rival[0])


def _token_before(objective: Objective, prompt_tokens: int) -> int | None:
    """A token halfway between prompt and what is explained; None where there is none."""
    first = min(objective.positions)
    position = (max(prompt_tokens, 1) + first) // 2
    return position if 1 <= position < first else None


def _nothing_later(found: Sequence[Attribution], hookpoint: str, position: int | None) -> Before | None:
    if position is None:
        return None
    own = found[1].by_hookpoint[hookpoint]
    later = np.abs(own.contributions[position:])
    largest = max(float(later.max(initial=0)), float(np.abs(own.error[position:]).max(initial=0)))
    return Before(position=position, nodes=int((own.activations[position:] > 0).sum()), largest=largest)
