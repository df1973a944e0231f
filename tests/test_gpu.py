"""What a GPU computes is what the CPU computes, which the other tests check. Run by `make bench-gpu`, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core.config import Device
from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, load_model
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae, encode
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Encoding, Generation, Intervention, Trigger
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader
from tests.test_generate import PROMPTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

GPU: Device = "cuda"
CPU = torch.device("cpu")
HOOKPOINTS = SHAPES["tiny"].hookpoints
GREEDY = Sampling(0.0, 1.0, 40)
CLOSE = {"atol": 1e-4, "rtol": 1e-3}


@pytest.fixture(scope="module")
def gpu_lm(tiny: Path) -> LanguageModel:
    return load_model(str(tiny / "model"), None, torch.device(GPU), "float32")


def saes(tiny: Path, device: torch.device) -> dict[str, Sae]:
    return dict(load_saes(str(tiny / "saes"), None, HOOKPOINTS, device).by_hookpoint)


def generated(lm: LanguageModel, steered: Steering | None = None) -> list[tuple[Generation, Captured]]:
    """Greedily, by inference."""
    made = generate(lm, PROMPTS, GREEDY, HOOKPOINTS, "hookpoint", steering=steered)
    return sorted(made, key=lambda one: one[0].prompt.inference)


def same_generations(one: list[tuple[Generation, Captured]], other: list[tuple[Generation, Captured]]) -> None:
    for (first, captured), (second, again) in zip(one, other, strict=True):
        assert first == second
        assert captured.logprobs.device == again.logprobs.device == CPU
        torch.testing.assert_close(captured.logprobs, again.logprobs, equal_nan=True, **CLOSE)
        for hookpoint, vectors in captured.vectors.items():
            torch.testing.assert_close(vectors.cpu(), again.vectors[hookpoint].cpu(), **CLOSE)


def dense(encoding: Encoding, latents: int) -> np.ndarray:
    """[positions, latents]"""
    rows = np.zeros((len(encoding.features), latents), np.float32)
    np.put_along_axis(rows, encoding.features.astype(np.int64), encoding.activations, axis=1)
    return rows


def same_encodings(one: Encoding, other: Encoding, latents: int) -> None:
    np.testing.assert_allclose(dense(one, latents), dense(other, latents), **CLOSE)
    np.testing.assert_allclose(one.squared_error, other.squared_error, **CLOSE)
    np.testing.assert_allclose(one.squared_norm, other.squared_norm, **CLOSE)
    assert one.vector_sums.keys() == other.vector_sums.keys()
    for segment, total in one.vector_sums.items():
        np.testing.assert_allclose(total, other.vector_sums[segment], **CLOSE)


def test_generation(tiny_lm: LanguageModel, gpu_lm: LanguageModel) -> None:
    """Tokens, log-probabilities and vectors of a padded batch."""
    same_generations(generated(tiny_lm), generated(gpu_lm))


def test_rows_that_end_leave_the_batch(tiny_lm: LanguageModel, gpu_lm: LanguageModel) -> None:
    plain = [one for one, _ in generated(tiny_lm)]
    stops = torch.tensor([plain[0].token_ids[5], plain[2].token_ids[20]])
    ended = generated(gpu_lm._replace(stop_ids=stops.to(gpu_lm.device)))
    assert {generation.finish_reason for generation, _ in ended} >= {"stop"}
    same_generations(generated(tiny_lm._replace(stop_ids=stops)), ended)


def test_what_is_captured_equals_a_teacher_forced_pass(gpu_lm: LanguageModel) -> None:
    for generation, captured in generated(gpu_lm):
        prompt_ids = generation.prompt.token_ids
        forced = replay(gpu_lm, [prompt_ids + generation.token_ids], HOOKPOINTS, "hookpoint")[0]
        for hookpoint, vectors in captured.vectors.items():
            torch.testing.assert_close(vectors, forced.vectors[hookpoint], **CLOSE)
        after = slice(len(prompt_ids), None)
        torch.testing.assert_close(captured.logprobs[after], forced.logprobs[after], **CLOSE)


def test_steering(tiny: Path, tiny_lm: LanguageModel, gpu_lm: LanguageModel) -> None:
    asked = (
        Intervention(HOOKPOINTS[0], 5, "clamp", 4.0, 2),
        Intervention(HOOKPOINTS[0], 7, "ablate"),
        Intervention(HOOKPOINTS[-1], 9, "add", 3.0),
        Intervention(HOOKPOINTS[-1], 3, "clamp", 1.0, 1, Trigger(HOOKPOINTS[0], 5)),
    )
    on_cpu = generated(tiny_lm, steering(asked, saes(tiny, CPU)))
    assert [one for one, _ in on_cpu] != [one for one, _ in generated(tiny_lm)], "it changes nothing here"
    on_gpu = generated(gpu_lm, steering(asked, saes(tiny, torch.device(GPU))))
    same_generations(on_cpu, on_gpu)
    for (_, captured), (_, again) in zip(on_cpu, on_gpu, strict=True):
        for hookpoint, notes in captured.notes.items():
            torch.testing.assert_close(notes, again.notes[hookpoint].cpu(), **CLOSE)


def test_encoding(tiny: Path, tiny_lm: LanguageModel) -> None:
    generation, captured = generated(tiny_lm)[1]
    prompt_tokens = len(generation.prompt.token_ids)
    segments = ("prompt",) * prompt_tokens + ("think",) * len(generation.token_ids)
    on_cpu, on_gpu = saes(tiny, CPU), saes(tiny, torch.device(GPU))
    for hookpoint, vectors in captured.vectors.items():
        one = encode(on_cpu[hookpoint], vectors, segments)
        other = encode(on_gpu[hookpoint], vectors.to(GPU), segments)
        same_encodings(one, other, on_cpu[hookpoint].shape.num_latents)


def on(device: Device, tiny_plan: Plan) -> Plan:
    """The experiment of `tiny_plan`, greedy, on a device."""
    config = tiny_plan.experiment.config.model_copy(update={"temperature": 0.0, "dtype": "float32"})
    return plan("tiny", config, device, Silent())


def test_a_whole_experiment(tiny_plan: Plan, tmp_path: Path) -> None:
    """From prompts to the database: inferences, latents, directions."""
    latents = SHAPES["tiny"].num_latents
    journals: list[list[Path]] = []
    for device in ("cpu", GPU):
        precompute(on(device, tiny_plan), tmp_path / device, 2, Silent())
        journals.append(sorted((tmp_path / device / "tiny" / "journal").glob("*.parquet")))
    for paths in zip(*journals, strict=True):
        one, other = map(read_segment, paths)
        assert one.token_ids.tolist() == other.token_ids.tolist() and one.texts == other.texts
        for hookpoint, encoding in one.encodings.items():
            same_encodings(encoding, other.encodings[hookpoint], latents)
    tables = []
    for device in ("cpu", GPU):
        with open_reader(tmp_path / device, "tiny") as reader:
            tables.append(
                reader.query("SELECT * EXCLUDE (neighbour) FROM neighbours ORDER BY hookpoint, feature, rank")
            )
    pd.testing.assert_frame_equal(*tables, check_exact=False, atol=1e-4)


class Notices(Silent):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_out_of_memory_halves_the_batch(tiny_plan: Plan, tmp_path: Path) -> None:
    """The allocator's own error: while a forward pass runs, two thirds of the free memory are taken for each row but
    one."""
    ready = on(GPU, tiny_plan)
    free, _ = torch.cuda.mem_get_info()

    def crowd(_module: object, _args: object, kwargs: dict[str, Tensor]) -> None:
        rows = len(kwargs["input_ids"])
        torch.empty(2 * (rows - 1) * free // 3, dtype=torch.uint8, device=GPU)

    progress = Notices()
    handle = ready.lm.model.register_forward_pre_hook(crowd, with_kwargs=True)
    try:
        precompute(ready, tmp_path, 3, progress)
    finally:
        handle.remove()
        torch.cuda.empty_cache()
    assert progress.notices == ["out of GPU memory: going on with batches of 2"]
    assert len(list((tmp_path / "tiny" / "journal").glob("*.parquet"))) == len(ready.prompts)
