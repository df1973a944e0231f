"""Trains the demo's language model from scratch: a small Qwen2 on endless generated examples, for a given time.

`python -m bundle.train_model --minutes 40` (after `python -m bundle.tokenizer`).
The order of the examples and the initial weights are fixed; how many examples the time allows depends on the machine.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from bundle.tokenizer import BOS, EOS, PAD, POSITIONS, token_id
from bundle.traces import make_example
from bundle.word_problems import TRAINING_SEED, training_problems
from kthink_core.demo import MODEL
from kthink_core.model.chat_template import frames
from kthink_core.prompts import prompt_ids

POOL = 2048  # documents sorted by length together, so that a batch has little padding
PROMPT_WEIGHT, WORD_WEIGHT, DIGIT_WEIGHT = 0.1, 0.5, 3.0  # of the loss: a wrong digit spoils a trace
MUON_RATE, ADAM_RATE = 0.02, 0.003
SAVE_EVERY = 150  # seconds
REPORT_EVERY = 50  # steps


class Document(NamedTuple):
    """Token ids of prompt + completion + EOS, and how many of them are the prompt's."""

    ids: list[int]
    prompt: int


class Batch(NamedTuple):
    """Documents of similar length, padded on the right."""

    ids: Tensor  # [rows, positions]
    weights: Tensor  # [rows, positions], of the loss of predicting that token; 0 on padding


class Plan(NamedTuple):
    """How to train."""

    folder: Path  # with the tokenizer; the model is saved there
    minutes: float  # of wall clock
    tokens: int  # positions in a batch of one process
    processes: int
    resume: bool  # from the weights in the folder
    rate: float  # factor on all learning rates
    seed: int  # of the examples
    meeting: str  # URL of the file through which the processes find each other


def documents(tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[Document]:
    """Endless training documents: exactly the prompt that the pipeline makes, then the completion and EOS."""
    chats = frames(str(tokenizer.chat_template), tokenizer.special_tokens_map)
    for index, problem in training_problems(seed):
        example = make_example(problem, seed, index)
        prompt = prompt_ids(tokenizer, chats, example.question, example.mode)
        completion = tokenizer.encode(example.completion, add_special_tokens=False)
        yield Document([*prompt, *completion, token_id(tokenizer, EOS)], len(prompt))


def batches(tokenizer: PreTrainedTokenizerBase, tokens: int, seed: int) -> Iterator[Batch]:
    """Endless batches of about `tokens` positions, of documents of similar length, in random order."""
    stream, rng = documents(tokenizer, seed), random.Random(seed)
    digits = torch.tensor([token_id(tokenizer, digit) for digit in "0123456789"])
    while True:
        pool = sorted(islice(stream, POOL), key=lambda document: len(document.ids))
        groups: list[list[Document]] = [[]]
        for document in pool:
            if (len(groups[-1]) + 1) * len(document.ids) > tokens:
                groups.append([])
            groups[-1].append(document)
        rng.shuffle(groups)
        yield from (_batch(group, token_id(tokenizer, PAD), digits) for group in groups)


def _batch(group: list[Document], pad: int, digits: Tensor) -> Batch:
    longest = max(len(document.ids) for document in group)
    ids = torch.full((len(group), longest), pad)  # [rows, positions]
    weights = torch.zeros(len(group), longest)  # [rows, positions]
    for row, document in enumerate(group):
        ids[row, : len(document.ids)] = torch.tensor(document.ids)
        weights[row, : document.prompt] = PROMPT_WEIGHT
        weights[row, document.prompt : len(document.ids)] = WORD_WEIGHT
        is_digit = torch.isin(ids[row, document.prompt :], digits)  # [completion positions and padding]
        weights[row, document.prompt :][is_digit] = DIGIT_WEIGHT
    return Batch(ids, weights)


def new_model(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """A small Qwen2 with random weights: 8 layers of width 192, 3.4 million parameters."""
    torch.manual_seed(TRAINING_SEED)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        use_cache=True,
        bos_token_id=token_id(tokenizer, BOS),
        eos_token_id=token_id(tokenizer, EOS),
        pad_token_id=token_id(tokenizer, PAD),
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=token_id(tokenizer, BOS),
        eos_token_id=token_id(tokenizer, EOS),
        pad_token_id=token_id(tokenizer, PAD),
    )
    return model


def optimizers(model: Qwen2ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, which learn in fewer steps than by Adam; Adam for the rest."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(progress: float) -> float:
    """The learning rate over progress in 0..1: a short rise, a long plateau, a linear fall to almost nothing."""
    return min(1.0, progress / 0.02 + 0.02, max(0.0, 1 - progress) / 0.45 + 0.005)


def loss_of(model: Callable[..., CausalLMOutputWithPast], batch: Batch) -> Tensor:
    """Weighted mean cross-entropy of the next token. Padding follows the text: causal attention needs no mask."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch.ids[:, :-1], use_cache=False).logits  # [rows, positions - 1, vocabulary]
    assert logits is not None
    weights = batch.weights[:, 1:].flatten()
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), batch.ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def average(model: Qwen2ForCausalLM, seconds: float) -> float:
    """Replaces each gradient by its mean over the processes; returns the mean of their clocks, so that all agree."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([seconds])])  # [parameters + 1]
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, mean in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
    return flat[-1].item()


def train(rank: int, plan: Plan) -> None:
    """One of the processes that train together, each on its own batches; the first reports and saves."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=plan.meeting, rank=rank, world_size=plan.processes)
    tokenizer = AutoTokenizer.from_pretrained(plan.folder)
    model = Qwen2ForCausalLM.from_pretrained(plan.folder) if plan.resume else new_model(tokenizer)
    model.train()
    compiled = torch.compile(model, dynamic=True)  # a minute of compiling, then a third faster
    tools = optimizers(model)
    rates = [plan.rate * group["lr"] for tool in tools for group in tool.param_groups]
    start, seconds, saved, step, seen, recent = time.monotonic(), 0.0, 0.0, 0, 0, 0.0
    for batch in islice(batches(tokenizer, plan.tokens, plan.seed), rank, None, plan.processes):
        if seconds >= 60 * plan.minutes:
            break
        for group, rate in zip((group for tool in tools for group in tool.param_groups), rates, strict=True):
            group["lr"] = rate * rate_factor(seconds / (60 * plan.minutes))
        loss = loss_of(compiled, batch)
        loss.backward()
        seconds = average(model, time.monotonic() - start)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for tool in tools:
            tool.step()
            tool.zero_grad()
        step, seen, recent = step + 1, seen + int((batch.weights > 0).sum()), recent + loss.item() / REPORT_EVERY
        if rank == 0 and step % REPORT_EVERY == 0:
            rate = seen * plan.processes / seconds
            print(f"{seconds:6.0f} s  step {step}  loss {recent:.4f}  about {rate:.0f} tokens/s", flush=True)
            recent = 0.0
        if rank == 0 and seconds - saved > SAVE_EVERY:
            model.save_pretrained(plan.folder)
            saved = seconds
    if rank == 0:
        model.save_pretrained(plan.folder)
        print(f"about {seen * plan.processes:,} tokens in {step} steps; {model.num_parameters():,} parameters")
    distributed.destroy_process_group()


def main() -> None:
    """Train the model in the folder that holds its tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--minutes", type=float, default=40, help="wall-clock time to train for")
    parser.add_argument("--tokens", type=int, default=1024, help="positions in a batch of one process")
    parser.add_argument("--processes", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--resume", action="store_true", help="go on from the weights in the folder")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on all learning rates")
    parser.add_argument("--seed", type=int, default=TRAINING_SEED, help="of the examples: another one for going on")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        plan = Plan(**vars(arguments), meeting=(Path(scratch) / "meeting").as_uri())
        spawn(train, args=(plan,), nprocs=plan.processes)


if __name__ == "__main__":
    main()
