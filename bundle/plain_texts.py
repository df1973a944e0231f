"""Texts without reasoning for the test by token injection: questions of held-out problems with answers as bypass mode
gives them, two problems a text.

`python -m bundle.plain_texts` writes them; none of the demo's own problems is among them.
"""

from __future__ import annotations

import json
from random import Random

from bundle.traces import answer_text
from bundle.word_problems import DEMO, held_out_problems
from kthink_core.demo import PLAIN_TEXTS

COUNT = 140
"""Some more than the test takes."""
SEED = 3


def plain_texts() -> list[str]:
    """The texts, always the same."""
    problems = held_out_problems()[DEMO : DEMO + 2 * COUNT]
    told = [
        f"{problem.question}\n\n{answer_text(problem, Random(f'plain:{SEED}:{index}'))}"
        for index, problem in enumerate(problems)
    ]
    return [f"{one}\n\n{other}" for one, other in zip(told[::2], told[1::2], strict=True)]


def main() -> None:
    PLAIN_TEXTS.write_text("".join(json.dumps({"text": text}) + "\n" for text in plain_texts()), encoding="utf-8")


if __name__ == "__main__":
    main()
