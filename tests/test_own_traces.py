"""Traces that were written elsewhere: what of a file is which segment, what is stored of it, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparsify import SparseCoder
from tokenizers import normalizers

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadProblems, ExperimentMismatch, MissingFiles
from kthink_core.model.chat_template import frames
from kthink_core.model.language_model import LanguageModel
from kthink_core.precompute import teacher_forcing
from kthink_core.precompute.pipeline import plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.precompute.teacher_forcing import by_length
from kthink_core.precompute.traces import open_traces
from kthink_core.prompts import NONE
from kthink_core.records import Generation, Inference
from kthink_core.store.reader import open_reader

ASKED = "Tom has 3 apples and buys 4 more. How many now? 🙂"
SEVEN = "<think>\nOkay, 3 + 4 = 7.\n</think>\n\n\\boxed{7}"
ROWS: list[dict[str, Any]] = [
    {
        "prompt": ASKED,
        "completion": "<think>\nOkay, 3 + 4 = 7.\n</think>\n\n\\boxed{7}",
        "reference": "7",
        "tags": ["a"],
    },
    {"prompt": [{"role": "user", "content": "Two?"}], "completion": "Hmm. Wait, 3.</think>\\boxed{3}", "reference": 2},
    {"prompt": ASKED, "completion": "Okay, it is", "reference": "7"},
    {
        "prompt": "Two?",
        "completion": "2</think>two",
        "answer": "2",
        "reference": "2.0",
        "correct": False,
        "other": 1e999,
    },
]


def written(folder: Path, rows: Sequence[object] = ROWS) -> Path:
    path = folder / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), "utf-8")
    return path


def configuration(tiny: Path, traces: str, **options: object) -> ExperimentConfig:
    given = {
        "model": str(tiny / "model"), "sae": str(tiny / "saes"), "hookpoints": SHAPES["tiny"].hookpoints,
        "traces": traces, "problems": traces, "limit": None,
    }  # fmt: skip
    return ExperimentConfig.model_validate(given | options)


def read(lm: LanguageModel, tiny: Path, folder: Path, row: object, **options: object) -> Generation:
    config = configuration(tiny, str(written(folder, [row])), **options)
    return open_traces(config, lm, folder).read(0)


def text(lm: LanguageModel, found: Generation, segment: str) -> str:
    assert found.given
    ids = found.prompt.token_ids + found.token_ids
    return lm.tokenizer.decode([one for one, label in zip(ids, found.given.segments, strict=True) if label == segment])


def stored(cache: Path, name: str) -> list[Inference]:
    with open_reader(cache, name) as reader:
        return [reader.inference(inference) for inference in reader.inference_ids]


def test_a_file_becomes_an_experiment(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against plain transformers, NumPy and what stands in the file; killed and gone on with, in small passes."""
    monkeypatch.setattr(teacher_forcing, "_TOKENS", 64)
    config = configuration(tiny, str(written(tmp_path)))

    class Stop(Silent):
        def committed(self, inference: Inference) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(plan("mine", config, "cpu", Silent()), tmp_path, 2, Stop())
    precompute(plan("mine", config, "cpu", Silent()), tmp_path, 2, Silent())
    found = stored(tmp_path, "mine")
    assert [one.inference for one in found] == [0, 1, 2, 3] and [one.problem for one in found] == [0, 1, 0, 2]
    assert [one.question for one in found] == [ASKED, "Two?", ASKED, "Two?"]
    assert [(one.answer, one.correct, one.finish_reason) for one in found] == [
        ("7", True, "stop"), ("3", False, "stop"), (None, False, "length"), ("2", False, "stop"),
    ]  # fmt: skip
    assert [one.tags for one in found] == [("a",), (), (), ()] and {one.mode for one in found} == {"think"}
    opened = "<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜><think>\n"
    assert [one.prompt for one in found] == [opened.format(one.question) for one in found]
    for one, row in zip(found, ROWS, strict=True):
        whole = tiny_lm.tokenizer.decode(one.token_ids.tolist())
        assert whole == one.prompt + row["completion"].removeprefix("<think>\n"), "one mark of a thought, not two"
        ids = torch.tensor([one.token_ids.tolist()])
        output = tiny_lm.model(ids, output_hidden_states=True)
        logprobs = output.logits[0].log_softmax(-1)
        wanted = [float(logprobs[at - 1, ids[0, at]]) for at in range(one.prompt_tokens, ids.shape[1])]
        np.testing.assert_allclose(one.logprobs[one.prompt_tokens :], wanted, atol=1e-4)
        assert np.isnan(one.logprobs[: one.prompt_tokens]).all()
        hookpoint = SHAPES["tiny"].hookpoints[0]
        kept: list[torch.Tensor] = []
        module = tiny_lm.model.base_model.get_submodule(hookpoint)
        handle = module.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out[0]))
        tiny_lm.model(ids)
        handle.remove()
        sae = SparseCoder.load_from_disk(tiny / "saes" / hookpoint)
        top = sae.encode(kept[0]).top_acts.detach().numpy()
        np.testing.assert_allclose(-np.sort(-one.encodings[hookpoint].activations), -np.sort(-top), atol=1e-5)
    with open_reader(tmp_path, "mine") as reader:
        assert queries.inferences(reader)["tags"].tolist()[0] == "a" and len(reader.query("FROM fidelity"))
        assert queries.quality(reader, "generated")["fvu"].notna().all()
    written(tmp_path, [*ROWS[:3], ROWS[0]])
    for path in (tmp_path / "mine").glob("latents-*.duckdb"):
        path.unlink()
    with pytest.raises(ExperimentMismatch, match="problems"):
        precompute(plan("mine", config, "cpu", Silent(), tmp_path), tmp_path, 2, Silent())
    written(tmp_path)
    precompute(plan("mine", config, "cpu", Silent(), tmp_path), tmp_path, 2, Silent())
    (tmp_path / "traces.jsonl").unlink()
    precompute(plan("mine", config, "cpu", Silent(), tmp_path), tmp_path, 2, Silent())
    assert len(stored(tmp_path, "mine")) == 4, "a worker needs the file no more"


@pytest.mark.parametrize(
    ("completion", "think", "answer", "finished"),
    [
        ("So.</think>Two", "So.</think>", "Two", True),
        ("<think>So.</think>Two</think>", "So.</think>", "Two</think>", True),
        (" <think>\n\nSo.", "\nSo.", "", False),
        ("Two", "Two", "", False),
        ("</think>Two", "</think>", "Two", True),
    ],
)
def test_segments_where_the_template_opens_the_thought(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path, completion: str, think: str, answer: str, finished: bool
) -> None:
    found = read(tiny_lm, tiny, tmp_path, {"prompt": "Two?", "completion": completion})
    assert text(tiny_lm, found, "prompt").endswith("<｜Assistant｜><think>\n")
    assert (text(tiny_lm, found, "think"), text(tiny_lm, found, "answer")) == (think, answer)
    assert (found.finish_reason == "stop") == finished
    close = tiny_lm.tokenizer.convert_tokens_to_ids("</think>")
    assert found.token_ids.count(close) == completion.count("</think>"), "a mark is its token, not its letters"


@pytest.mark.parametrize(
    ("completion", "think", "answer"),
    [
        ("<think>\nSo.</think>Two", "<think>\nSo.</think>", "Two"),
        ("So.</think>Two", "So.</think>", "Two"),
        ("Two", "", "Two"),
        ("<think>So.", "<think>So.", ""),
    ],
)
def test_segments_where_it_does_not(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path, completion: str, think: str, answer: str
) -> None:
    asked = "<｜User｜>Two?<｜Assistant｜>"
    plain = tiny_lm._replace(frames=frames(NONE, {"bos_token": "<｜begin▁of▁sentence｜>"}))
    found = read(plain, tiny, tmp_path, {"prompt": asked, "completion": completion}, chat_template=NONE)
    assert text(tiny_lm, found, "prompt") == f"<｜begin▁of▁sentence｜>{asked}"
    assert (text(tiny_lm, found, "think"), text(tiny_lm, found, "answer")) == (think, answer)
    assert found.prompt.mode == ("think" if think else "bypass")


PARTS = st.sampled_from(["<think>", "</think>", "\n", "Okay", " 7.", "🙂", "<｜User｜>", " "])


@given(parts=st.lists(PARTS, min_size=1, max_size=8).map("".join))
def test_whatever_is_written_is_told_apart_or_refused(
    tiny: Path, tiny_lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory, parts: str
) -> None:
    """No token is lost, segments follow each other, and a thought ends with its first mark."""
    folder = tmp_path_factory.mktemp("traces")
    try:
        found = read(tiny_lm, tiny, folder, {"prompt": "Two?", "completion": parts})
    except BadProblems as error:
        assert str(error).startswith(f"{folder}/traces.jsonl line 1: ") and "\n" not in str(error)
        assert (
            not parts.strip()
            or parts.count("<think>") > parts.lstrip().startswith("<think>")
            or (not parts.lstrip().removeprefix("<think>").strip())
        )
        return
    assert found.given
    labels = list(found.given.segments)
    assert labels == sorted(labels, key=["prompt", "think", "answer"].index)
    generated = text(tiny_lm, found, "think") + text(tiny_lm, found, "answer")
    assert parts.endswith(generated) and parts.removesuffix(generated).strip() in ("", "<think>")
    assert text(tiny_lm, found, "think").count("</think>") == ("</think>" in parts)


BAD: list[tuple[object, str]] = [
    ("text", "line 2: a trace is an object"),
    ({"prompt": "Two?"}, "line 2: `completion` must be a text that is not empty"),
    ({"prompt": "Two?", "completion": " "}, "line 2: `completion` must be a text"),
    ({"prompt": "", "completion": "x"}, "line 2: `prompt` must be a text"),
    ({"prompt": [], "completion": "x"}, "line 2: `prompt` must be a text"),
    ({"prompt": [{"role": "user"}], "completion": "x"}, "message 0 of `prompt` needs `role` and `content`"),
    ({"prompt": [{"role": "assistant", "content": "x"}], "completion": "x"}, "ends with a message of the assistant"),
    ({"prompt": [{"role": "tool", "content": "x"}], "completion": "x"}, "messages of tool: the model's chat template"),
    ({"prompt": "Two?", "completion": "<think>a</think>b<think>"}, "line 2: a second <think>"),
    ({"prompt": "Two?", "completion": "<think>"}, "holds nothing but <think>"),
    ({"prompt": "Two?", "completion": "x", "correct": 1}, "`correct` must be true or false"),
    ({"prompt": "Two?", "completion": "x", "answer": [1]}, "`answer` must be a text or a number"),
    ({"prompt": "Two?", "completion": "x", "answer": math.nan}, "`answer` must be a text or a number"),
    ({"prompt": "Two?", "completion": "x", "reference": math.inf}, "`reference` must be a text or a number"),
    ({"prompt": "Two?", "completion": "x", "tags": [1]}, "`tags` must be a list"),
    ({"prompt": "Two?", "completion": "x", "tags": ["y" * 101]}, "must have 1 to 100 characters"),
    ({"prompt": "Two?", "completion": "a " * 140_000}, "tokens are more than the model's context of 131,072"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_what_is_wrong_is_told_by_its_line_or_left_out(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path, row: object, reason: str
) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n" + json.dumps(ROWS[1]) + "\n")
    path.write_text("\n" + path.read_text())
    with pytest.raises(BadProblems) as caught:
        open_traces(configuration(tiny, str(path)), tiny_lm, tmp_path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    found = open_traces(configuration(tiny, str(path), skip_bad=True), tiny_lm, tmp_path)
    assert list(found.numbers) == [0] and found.read(0).prompt.problem.question == "Two?"
    assert found.notices[0].startswith("2 of 3 traces are left out: ") and reason in found.notices[0]


def test_a_tokenizer_that_does_not_give_a_text_back_says_which_characters(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny / "model")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    with pytest.raises(
        BadProblems, match=r"line 1: .* `completion` back: 'ﬁ' \(U\+FB01\), at character 4 'ﬁve' .* 'five'"
    ):
        read(tiny_lm._replace(tokenizer=tokenizer), tiny, tmp_path, {"prompt": "Two?", "completion": "two ﬁve"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "holds no traces"),
        (b"{", "line 1: it is no JSON"),
        (b"\xff", "line 1: it is no JSON"),
    ],
)
def test_files_that_are_none(
    tiny: Path, tiny_lm: LanguageModel, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadProblems, match=reason) as told:
        open_traces(configuration(tiny, str(path)), tiny_lm, tmp_path)
    assert str(told.value).count(str(path)) == 1
    with pytest.raises(MissingFiles, match="--traces nobody/nothing: it is no file here"):
        open_traces(configuration(tiny, "nobody/nothing"), tiny_lm, tmp_path)


def test_a_data_set_is_read_as_a_file_is(tiny: Path, tiny_lm: LanguageModel, tmp_path: Path) -> None:
    """Of the hub's library: a folder is one, too."""
    from datasets import Dataset

    rows = [{name: row.get(name) for name in ("prompt", "completion")} for row in (ROWS[0], ROWS[2])]
    Dataset.from_list(rows).to_parquet(tmp_path / "set" / "train.parquet")
    found = open_traces(configuration(tiny, str(tmp_path / "set")), tiny_lm, tmp_path)
    for trace, row in enumerate(rows):
        assert found.read(trace).token_ids == read(tiny_lm, tiny, tmp_path, row).token_ids


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=60), batch=st.integers(1, 3))
def test_traces_pass_by_length_each_once_and_bounded(lengths: list[int], batch: int) -> None:
    traces: Any = SimpleNamespace(numbers=range(len(lengths)), lengths=lengths)
    order = by_length(traces, batch)
    assert sorted(order) == list(range(len(lengths)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_forcing, "_TOKENS", 100)
        passes = list(teacher_forcing._passes(traces, order))
    assert [trace for together in passes for trace in together] == order
    assert all(len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= 100 for rows in passes)


def test_the_command_line(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    weights = ["--model", str(tiny / "model"), "--sae", str(tiny / "saes"), "--hookpoints", *SHAPES["tiny"].hookpoints]
    asked = [
        "precompute",
        "--experiment",
        "mine",
        "--traces",
        str(path),
        "--cache",
        str(tmp_path),
        "--site",
        "hookpoint",
    ]
    assert main([*asked, *weights]) == 0
    told = capsys.readouterr().err
    assert "1 of 4 traces never close their thought" in told
    assert main(["query", "inferences", "--experiment", "mine", "--cache", str(tmp_path), "--format", "json"]) == 0
    assert [row["correct"] for row in json.loads(capsys.readouterr().out)] == [True, False, False, False]
    for more in (["--temperature", "0"], ["--samples", "2"], ["--problems", "demo"], ["--instruction", "x"]):
        assert main([*asked, *weights, *more]) == 2
        assert f"--traces generates nothing: leave out {more[0]}" in capsys.readouterr().err
    assert main(["precompute", "--skip-bad"]) == 2 and "only --traces" in capsys.readouterr().err
    for missing, said in ((str(tmp_path / "none.jsonl"), "there is no such file"), ("experiment:none", "unknown")):
        nowhere = ["--traces", missing, "--experiment", "other", "--model", "/no/model", "--sae", "/no/sae"]
        assert main([*asked, *nowhere]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count(missing.removeprefix("experiment:")) == 1 and "/no/" not in told
    path.write_text(json.dumps({"prompt": "Two?", "completion": "\x1b[2J2", "tags": ["\x1b[2J" * 30]}) + "\n")
    assert main([*asked, *weights, "--experiment", "hostile"]) == 2
    told = capsys.readouterr().err
    assert "\\u001b[2J" in told and "\x1b[2J" not in told, "a terminal obeys nothing of a file"


def test_an_experiments_tokens_are_of_its_mode_and_graded_as_it_is(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [{"prompt": "Two?", "completion": "2", "reference": "2"}])
    given = [
        "--model",
        str(tiny / "model"),
        "--sae",
        str(tiny / "saes"),
        "--cache",
        str(tmp_path),
        "--site",
        "hookpoint",
    ]
    given += ["--hookpoints", SHAPES["tiny"].hookpoints[0]]
    first = ["--experiment", "one", "--traces", str(path), "--mode", "bypass", "--grade", "none"]
    again = ["--experiment", "two", "--traces", "experiment:one"]
    assert main(["precompute", *first, *given]) == main(["precompute", *again, *given]) == 0
    assert main(["precompute", *again, *given]) == 0 and "'two' is complete" in capsys.readouterr().err
    for name in ("one", "two"):
        with open_reader(tmp_path, name) as reader:
            config = reader.experiment.config
            assert (config.mode, config.grade) == ("bypass", "none")
            assert queries.inferences(reader)["mode"].tolist() == ["bypass"]
    assert main(["precompute", *again, *given, "--mode", "think"]) == 2
    assert "is as it was written there: leave out --mode" in capsys.readouterr().err
