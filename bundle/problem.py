"""What a word problem is made of: its steps, its people and its things."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
}


class Step(NamedTuple):
    """One calculation: `left operator right = result`, and what the result means ("number of apples left")."""

    left: int
    operator: str
    right: int
    result: int
    what: str

    @property
    def expression(self) -> str:
        """The calculation without its result: `12 * 7`."""
        return f"{self.left} {self.operator} {self.right}"


class Problem(NamedTuple):
    """A question with its solution: the last step's result is the answer."""

    kind: str
    question: str
    facts: tuple[str, ...]  # clauses of the question, as one restates them: "each pen costs 4 dollars"
    goal: str  # what is asked, as a clause: "how many apples are left"
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        """The last step's result."""
        return self.steps[-1].result


class Person(NamedTuple):
    """A name with its pronouns: subject ("she") and possessive ("her")."""

    name: str
    she: str
    her: str


WOMEN = (
    "Anna", "Maria", "Lena", "Sofia", "Julia", "Emma", "Nora", "Clara", "Ruth", "Alice", "Mia", "Betty", "Natalia",
    "Laura", "Grace",
)  # fmt: skip
MEN = (
    "Tom", "Ben", "Paul", "David", "Leo", "Max", "Oscar", "Peter", "Sam", "Jack", "Adam", "Felix", "James", "Mark",
    "Robert",
)  # fmt: skip
THINGS = (
    "apples", "marbles", "stickers", "shells", "stamps", "cards", "pencils", "coins", "books", "balloons",
    "buttons", "beads",
)  # fmt: skip
GOODS = (
    "pens", "notebooks", "candles", "mugs", "plants", "toys", "scarves", "lamps", "hats", "bags", "cups", "brushes",
)  # fmt: skip
FOODS = (
    "cookies", "muffins", "cupcakes", "rolls", "pies", "buns", "tarts", "pretzels",
)  # fmt: skip
PACKS = (
    "boxes", "bags", "packs", "baskets", "jars", "crates",
)  # fmt: skip


def person(rng: Random) -> Person:
    """Someone, a woman or a man."""
    if rng.random() < 0.5:
        return Person(rng.choice(WOMEN), "she", "her")
    return Person(rng.choice(MEN), "he", "his")


def step(left: int, operator: str, right: int, what: str) -> Step:
    """A step with its result worked out."""
    return Step(left, operator, right, OPERATIONS[operator](left, right), what)
