"""What a ReasonScore should be, worked out position by position in plain Python from the raw records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kthink_core.queries import Scope
from kthink_core.records import Inference

EDGES = ("<s>", "</s>")
Row = dict[str, float]
Token = tuple[int, str]
Near = list[list[set[int]]]
"""By word, by inference: the positions near a match, in the whole trace."""


class Facts(NamedTuple):
    near: Near
    matches: list[int]
    """By word."""


def spellings(line: str) -> set[str]:
    if line.startswith('"'):
        return {line[1:-1]}
    large = line[0].upper() + line.lower()[1:]
    return {line.lower(), " " + line.lower(), large, " " + large}


def stretches(trace: Sequence[Token], texts: set[str]) -> list[tuple[int, int]]:
    """First and last position of whatever reads as one of some texts, without a token that is empty."""
    found = []
    for first in range(len(trace)):
        for last in range(first, len(trace)):
            parts = [text for _, text in trace[first : last + 1]]
            if all(parts) and "".join(parts) in texts:
                found.append((first, last))
    return found


def alone(trace: Sequence[Token], first: int, last: int) -> bool:
    text = "".join(text for _, text in trace[first : last + 1])
    before = trace[first - 1][1][-1:] if first else ""
    after = trace[last + 1][1][:1] if last + 1 < len(trace) else ""
    return not (before.isalnum() and text[0].isalnum()) and not after.isalnum()


def facts(traces: Sequence[Sequence[Token]], lines: Sequence[str], window: tuple[int, int]) -> Facts:
    near: Near = []
    matches = []
    for line in lines:
        if line.startswith("#"):
            wanted = [int(part[1:]) for part in line.split()]
            found = [
                [
                    (first, first + len(wanted) - 1)
                    for first in range(len(trace))
                    if [token_id for token_id, _ in trace[first : first + len(wanted)]] == wanted
                ]
                for trace in traces
            ]
        else:
            every = [stretches(trace, spellings(line)) for trace in traces]
            sequences = {
                tuple(token_id for token_id, _ in trace[first : last + 1])
                for trace, places in zip(traces, every, strict=True)
                for first, last in places
                if first == last or alone(trace, first, last)
            }
            found = [
                [place for place in places if tuple(i for i, _ in trace[place[0] : place[1] + 1]) in sequences]
                for trace, places in zip(traces, every, strict=True)
            ]
        matches.append(sum(map(len, found)))
        near.append(
            [
                {
                    other
                    for first, last in places
                    for position in range(first, last + 1)
                    for other in range(position - window[0], position + window[1] + 1)
                    if 0 <= other < len(trace)
                }
                for trace, places in zip(traces, found, strict=True)
            ]
        )
    return Facts(near, matches)


def tokens(inference: Inference) -> list[Token]:
    return list(zip(inference.token_ids.tolist(), inference.texts, strict=True))


def counts(inference: Inference, position: int, scope: Scope) -> bool:
    segment = inference.segments[position]
    inside = scope in ("all", segment) or (scope == "generated" and segment != "prompt")
    return inside and inference.texts[position] not in EDGES


def activations(inference: Inference, hookpoint: str, position: int) -> dict[int, float]:
    encoding = inference.encodings[hookpoint]
    pairs = zip(encoding.features[position].tolist(), encoding.activations[position].tolist(), strict=True)
    return {feature: value for feature, value in pairs if value > 0}


def reason_score(
    inferences: Sequence[Inference],
    hookpoint: str,
    scope: Scope,
    lines: Sequence[str],
    window: tuple[int, int],
    alpha: float,
) -> dict[int, Row]:
    """By feature: mean_positive, mean_negative, entropy, score and the numbers beside them."""
    near = facts([tokens(inference) for inference in inferences], lines, window).near
    sides: dict[str, list[tuple[int, int]]] = {"positive": [], "negative": []}
    of_words: list[list[tuple[int, int]]] = [[] for _ in lines]
    for index, inference in enumerate(inferences):
        for position in range(len(inference.texts)):
            if not counts(inference, position, scope):
                continue
            own = [word for word in range(len(lines)) if position in near[word][index]]
            sides["positive" if own else "negative"].append((index, position))
            for word in own:
                of_words[word].append((index, position))

    def values(feature: int, places: list[tuple[int, int]]) -> list[float]:
        return [activations(inferences[index], hookpoint, position).get(feature, 0.0) for index, position in places]

    def mean(feature: int, places: list[tuple[int, int]]) -> float:
        return sum(values(feature, places)) / len(places) if places else 0.0

    features = sorted(
        {
            feature
            for places in sides.values()
            for index, position in places
            for feature in activations(inferences[index], hookpoint, position)
        }
    )
    positive, negative = ({f: mean(f, places) for f in features} for places in sides.values())
    rows = {}
    for feature in features:
        means = [mean(feature, places) for places in of_words]
        shares = [value / sum(means) for value in means] if sum(means) else []
        entropy = -sum(share * math.log(share) for share in shares if share)
        entropy = entropy / math.log(len(lines)) if len(lines) > 1 else 1.0
        score = positive[feature] / (sum(positive.values()) or 1) * entropy**alpha
        score -= negative[feature] / (sum(negative.values()) or 1)
        at = [
            place for place, value in zip(sides["positive"], values(feature, sides["positive"]), strict=True) if value
        ]
        rows[feature] = {
            "mean_positive": positive[feature], "mean_negative": negative[feature], "entropy": entropy, "score": score,
            "active_positive": len(at), "positive_positions": len(sides["positive"]),
            "active_negative": sum(value > 0 for value in values(feature, sides["negative"])),
            "negative_positions": len(sides["negative"]),
            "inferences": len({index for index, _ in at}), "of": len({index for index, _ in sides["positive"]}),
        }  # fmt: skip
    return rows
