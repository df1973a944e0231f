"""A planted pair: an SAE of two features, one that answers to a word wherever it stands, one that needs its context.

Both are linear probes of the demo model's `layers.6.mlp`, fitted by logistic regression, and stand in an SAE of
sparsify's form as its encoder rows: what each fires on follows from what it was fitted to, not from what a training
found.

    0   fires at the word ` I`, in thoughts and put into texts without reasoning alike
    1   fires at the full stop of a thought's sentence, and at none of a question, an answer, or a text it was put into

`python -m bundle.planted` fits and writes them, and prints how well they do on texts that they were not fitted to.
"""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import NamedTuple

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2ForCausalLM

from bundle.rollouts import mlp_outputs
from bundle.tokenizer import BOS, token_id
from bundle.traces import answer_text, make_example
from bundle.word_problems import training_problems
from kthink_core.demo import MODEL, PLANTED
from kthink_core.model.chat_template import frames
from kthink_core.prompts import prompt_ids

HOOKPOINT = "layers.6.mlp"
WORD, STOP = " I", "."
FITTED, TESTED = 600, 100
"""Documents."""
PUT_IN = 3
"""Tokens put into each text without reasoning."""
SEED = 4
DECAY = 1e-6
STEPS = 60


class Seen(NamedTuple):
    """Positions of some documents."""

    vectors: Tensor  # [positions, width]
    word: Tensor  # [positions], whether it is the word
    stop: Tensor  # [positions], whether it is a full stop of a thought


def documents(tokenizer: PreTrainedTokenizerBase, count: int, skip: int) -> list[tuple[list[int], list[bool]]]:
    """Token ids, and which positions are of a thought: traces, and texts without reasoning that had the word, full
    stops and neighbours of both put in at random places."""
    chats = frames(str(tokenizer.chat_template), tokenizer.special_tokens_map)
    close = tokenizer.encode("</think>", add_special_tokens=False)
    word, stop = (tokenizer.encode(text, add_special_tokens=False) for text in (WORD, STOP))
    assert len(word) == len(stop) == len(close) == 1
    found = []
    for index, problem in islice(training_problems(SEED), skip, skip + count):
        rng = Random(f"planted:{SEED}:{index}")
        example = make_example(problem, SEED, index)
        prompt = prompt_ids(tokenizer, chats, example.question, example.mode)
        ids = prompt + tokenizer.encode(example.completion, add_special_tokens=False)
        end = ids.index(close[0], len(prompt)) if example.mode == "think" else len(prompt)
        found.append((ids, [len(prompt) <= position < end for position in range(len(ids))]))
        text = f"{problem.question}\n\n{answer_text(problem, rng)}"
        plain = tokenizer.encode(text, add_special_tokens=False)
        thought = ids[len(prompt) : end]
        for _ in range(PUT_IN):
            own = rng.choice((word, stop, _around(thought, stop[0], rng), _around(thought, word[0], rng)))
            where = rng.choice((0, len(plain), rng.randrange(len(plain) + 1)))
            plain[where:where] = own
        found.append(([token_id(tokenizer, BOS), *plain], [False] * (len(plain) + 1)))
    return found


def _around(thought: list[int], token: int, rng: Random) -> list[int]:
    """The token with its neighbours, from some place of a thought; alone where the thought has it nowhere."""
    places = [index for index, other in enumerate(thought) if other == token]
    if not places:
        return [token]
    at = rng.choice(places)
    return thought[max(at - rng.randrange(3), 0) : at + 1 + rng.randrange(2)]


@torch.no_grad()
def seen(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, count: int, skip: int) -> Seen:
    """What the hookpoint gives at every position but the first of each document."""
    word, stop = (tokenizer.encode(text, add_special_tokens=False)[0] for text in (WORD, STOP))
    vectors, words, stops = [], [], []
    for ids, thought in documents(tokenizer, count, skip):
        vectors.append(mlp_outputs(model, ids, [HOOKPOINT])[HOOKPOINT][1:])
        tokens = torch.tensor(ids[1:])
        words.append(tokens == word)
        stops.append((tokens == stop) & torch.tensor(thought[1:]))
    return Seen(torch.cat(vectors), torch.cat(words), torch.cat(stops))


def fitted(vectors: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    """Row and bias that are positive where wanted and negative elsewhere: logistic regression."""
    scale = vectors.std(0) + 1e-6
    row = torch.zeros(vectors.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([row, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = (vectors / scale) @ row + bias
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted.float())
        value = value + DECAY * row.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (row / scale).detach(), float(bias)


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = Qwen2ForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    learned, held_out = seen(model, tokenizer, FITTED, 0), seen(model, tokenizer, TESTED, FITTED)
    sae = SparseCoder(learned.vectors.shape[1], SparseCoderConfig(num_latents=2, k=2))
    assert sae.W_dec is not None
    with torch.no_grad():
        sae.b_dec.zero_()
        for index, name in enumerate(("word", "stop")):
            row, bias = fitted(learned.vectors, getattr(learned, name))
            sae.encoder.weight[index], sae.encoder.bias[index] = row, bias
            sae.W_dec[index] = torch.nn.functional.normalize(row, dim=0)
            fires, wanted = held_out.vectors @ row + bias > 0, getattr(held_out, name)
            both = float((fires & wanted).sum())
            print(f"{index} {name}: precision {both / float(fires.sum()):.3f}, recall {both / float(wanted.sum()):.3f}")
    sae.save_to_disk(PLANTED / HOOKPOINT)


if __name__ == "__main__":
    main()
