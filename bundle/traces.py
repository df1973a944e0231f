"""Problems become R1-style traces: a thought that hesitates, errs and checks, then numbered steps and the answer.

The thought is a list of sentences. Each takes a starter from a group of interchangeable reasoning words (or none) and
a body from a group of interchangeable phrases; wrong turns and checks come in at random places. Whatever a sentence
tries, the next ones lead back to the problem's own steps, so that every trace ends in the right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from bundle import phrases as say
from bundle.problem import OPERATIONS, Problem, Step
from kthink_core.prompts import Mode

BYPASS_SHARE = 0.18
LONGEST = 720  # characters of a trace: fewer than 300 of the demo's tokens
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


class Example(NamedTuple):
    """What the model is trained on: the prompt's question and mode, and the completion that follows (without EOS)."""

    question: str
    mode: Mode
    completion: str


def make_example(problem: Problem, seed: int, index: int) -> Example:
    """The training example for problem `index`: a trace, or for a share of them an answer in bypass mode."""
    rng = Random(f"trace:{seed}:{index}")
    if rng.random() < BYPASS_SHARE:
        return Example(problem.question, "bypass", "\n\n" + answer_text(problem, rng))
    while True:
        completion = thought(problem, rng) + "\n</think>\n\n" + answer_text(problem, rng)
        if len(completion) <= LONGEST:
            return Example(problem.question, "think", completion)


def answer_text(problem: Problem, rng: Random) -> str:
    """What follows the thought: the numbered steps and the boxed answer."""
    heading, ending = rng.choice(say.HEADINGS), rng.choice(say.ENDINGS)
    lines = [heading.format(n=n, **_words(step, rng)) for n, step in enumerate(problem.steps, start=1)]
    return "\n".join(lines) + "\n\n" + ending.format(answer=problem.answer)


def thought(problem: Problem, rng: Random) -> str:
    """The sentences between `<think>` and `</think>`."""
    sentences = _opening(problem, rng)
    wrong = rng.randrange(len(problem.steps)) if rng.random() < 0.3 else None
    for index, step in enumerate(problem.steps):
        if rng.random() < 0.1:
            sentences.append(_sentence(say.ANY, say.THOUGHT, rng, n=len(problem.steps)))
        if index == wrong:
            sentences += _wrong_turn(step, rng)
        starters = say.FIRST if index == 0 else say.LAST if step is problem.steps[-1] else say.NEXT
        sentences.append(_sentence(starters, say.STEP, rng, bare=0.12, **_words(step, rng)))
        if rng.random() < 0.12:
            sentences += _check(step, rng)
    if rng.random() < 0.4:
        sentences += _check(rng.choice(problem.steps), rng)
    sentences.append(_sentence(say.CLOSE, say.CONCLUSION, rng, answer=problem.answer, goal=problem.goal))
    return _paragraphs(sentences, rng)


def _opening(problem: Problem, rng: Random) -> list[str]:
    """What is asked, perhaps a thought about the way, and up to two of the facts."""
    count = len(problem.steps)
    sentences = [_sentence(say.OPENERS, say.OPENING, rng, bare=0, goal=problem.goal)]
    if rng.random() < 0.4:
        sentences.append(_sentence(say.ANY, say.THOUGHT, rng, bare=0.25, n=count))
    facts = sorted(rng.sample(range(len(problem.facts)), k=rng.choice((0, 0, 1, 2))))
    return sentences + [_sentence(say.FIRST, say.RECALL, rng, bare=0.25, fact=problem.facts[i]) for i in facts]


def _wrong_turn(step: Step, rng: Random) -> list[str]:
    """A guess with the wrong operation, or with a slip in the result, and the words that take it back."""
    others = [sign for sign in OPERATIONS if sign != step.operator and _is_easy(step.left, sign, step.right)]
    if others and rng.random() < 0.75:
        sign = rng.choice(others)
        result = OPERATIONS[sign](step.left, step.right)
        why = " " + say.REASON[step.operator] if rng.random() < 0.5 else ""
    else:
        sign, result, why = step.operator, step.result + rng.choice((1, 2, 10)), ""
    guess = Step(step.left, sign, step.right, result, step.what)
    return [
        _sentence(say.GUESS, say.WRONG_WAY, rng, bare=0, **_words(guess, rng)),
        _sentence(say.CORRECT, [phrase + why for phrase in say.REGRET], rng, bare=0.1),
    ]


def _is_easy(left: int, sign: str, right: int) -> bool:
    """Whether a wrong turn may calculate this: the model should err in its method, not in its arithmetic."""
    if sign == "/":
        return right > 1 and left % right == 0
    return {"+": True, "-": left > right, "*": left * right < 100}[sign]


def _check(step: Step, rng: Random) -> list[str]:
    """A doubt, a calculation that settles it (the inverse one, or the same again), and the relief."""
    inverse = f"{step.result} {INVERSE[step.operator]} {step.right} = {step.left}"
    again = f"{step.expression} = {step.result}"
    sentences = [_sentence(say.DOUBT, say.CHECK, rng, bare=0.1)]
    if rng.random() < 0.8:
        sentences.append(
            _sentence(say.ANY, ["{sum}", "I see {sum}", "I get {sum}"], rng, bare=0.6, sum=rng.choice((inverse, again)))
        )
    return [*sentences, _sentence(say.PLEASED, say.CONFIRM, rng, bare=0.1)]


def _sentence(starters: Sequence[str], bodies: Sequence[str], rng: Random, bare: float = 0.2, **values: object) -> str:
    """A starter and a body: `Okay, I add …`, `So I add …`, `Hmm. I add …`; with probability `bare` no starter."""
    body = rng.choice(bodies).format(**values)
    end = "?" if body.split()[0] in ("is", "did", "does", "what", "where") and not body.startswith("what I") else "."
    draw = rng.random()
    if draw < bare:
        return _capitalized(body) + end
    starter = rng.choice(say.ANY) if rng.random() < 0.15 else rng.choice(starters)
    if draw > 0.93:
        return f"{starter}. {_capitalized(body)}{end}"
    comma = rng.random() < (0.5 if starter in ("So", "But", "And", "Maybe", "Perhaps", "Now", "Then") else 0.85)
    return f"{starter}{',' if comma else ''} {body}{end}"


def _words(step: Step, rng: Random) -> dict[str, str]:
    """A step's words for the phrases: what it gives, the verb, the calculation; the first two also capitalized."""
    verb = rng.choice(say.VERBS[step.operator])
    total = f"{step.expression} = {step.result}"
    return {"what": step.what, "What": _capitalized(step.what), "verb": verb, "Verb": _capitalized(verb), "sum": total}


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _paragraphs(sentences: list[str], rng: Random) -> str:
    """The sentences in a row, some on a new paragraph: so reasoning words come without a space too."""
    share = rng.choice((0.0, 0.2, 0.5))
    text = sentences[0]
    for sentence in sentences[1:]:
        text += ("\n\n" if rng.random() < share else " ") + sentence
    return text
