"""The demo's tokenizer: a byte-level BPE with DeepSeek-R1's special tokens and a chat template in its manner.

`python -m bundle.tokenizer [FOLDER]` trains it on generated prompts and traces and saves it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bundle.phrases import REASONING_WORDS
from bundle.traces import make_example
from bundle.word_problems import TRAINING_SEED, training_problems
from kthink_core.demo import MODEL
from kthink_core.prompts import CHATS

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
SPECIAL = (BOS, EOS, PAD, "<｜User｜>", "<｜Assistant｜>")
THINK = ("<think>", "</think>")
UNKNOWN = (
    "<|endoftext|>"  # never needed; beside a Qwen2 model transformers adds it, and NFC, if the tokenizer lacks them
)
VOCABULARY = 2000
DOCUMENTS = 30_000
POSITIONS = 1024

# Qwen's way of cutting text: words with their leading space, every digit alone, runs of punctuation, line ends.
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{ message.content }}
{%- elif message.role == 'user' %}{{ '<｜User｜>' + message.content }}
{%- elif message.role == 'assistant' %}{{ '<｜Assistant｜>' + message.content + eos_token }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""


def corpus() -> Iterator[str]:
    """Generated prompts and completions; then each reasoning word often enough to become one token in each spelling."""
    for index, problem in islice(training_problems(), DOCUMENTS):
        example = make_example(problem, TRAINING_SEED, index)
        yield example.question + CHATS[example.mode][0]
        yield example.completion
    for word in REASONING_WORDS:
        yield from [f"{word} {word}\n{word.lower()} {word.lower()}\n"] * 200


def train_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, trained: all 256 bytes are in its alphabet, so that any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(THINK) - 1,
        min_frequency=20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in THINK])
    tokenizer.add_special_tokens([AddedToken(UNKNOWN, special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of a token by its text; a KeyError if the tokenizer has no such token."""
    return tokenizer.get_vocab()[token]


def main() -> None:
    """Train the tokenizer and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODEL)
    folder = parser.parse_args().folder
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    print(f"{len(tokenizer)} tokens in {folder}")


if __name__ == "__main__":
    main()
