"""The thirteen kinds of word problems, each a function from a random generator to a problem.

The numbers stay small (factors mostly one digit by one or two, results mostly below 100, divisions exact), so that
a model of a few million parameters can learn the arithmetic; what varies widely is who, what and how it is said.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bundle import kinds_counting as counting
from bundle import kinds_money as money
from bundle.problem import Problem

KINDS: tuple[Callable[[Random], Problem], ...] = (
    money.shopping,
    counting.collection,
    counting.comparison,
    money.wages,
    counting.sharing,
    money.saving,
    counting.journey,
    counting.ages,
    counting.reading,
    money.baking,
    money.fence,
    money.outing,
    counting.farm,
)
