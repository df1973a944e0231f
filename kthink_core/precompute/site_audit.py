"""A few short traces at every site of the layers that SAEs belong to: generated once, passed through the model once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from kthink_core import demo
from kthink_core.config import DEMO, Device, ExperimentConfig
from kthink_core.errors import BadValue, MissingFiles
from kthink_core.model.generate import generate
from kthink_core.model.language_model import load_model, pick_device
from kthink_core.model.sae_folders import check_hookpoints, hookpoints_in, load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.sites import Audit, capture, measured
from kthink_core.precompute.pipeline import Progress
from kthink_core.precompute.problems import load_problems
from kthink_core.prompts import prompt_ids
from kthink_core.records import Prompt


def audit(config: ExperimentConfig, device: Device, progress: Progress) -> Iterator[Audit]:
    """One audit a hookpoint, over the prompts of the configuration and what the model writes after them. SAEs are
    loaded one after the other.

    Raises BadProblems, MissingFiles, UnknownName, UnsupportedSae, and what loading a model raises.
    """
    where = pick_device(device)
    problems = load_problems(config.problems, config.limit)
    check_hookpoints(config.sae, config.sae_revision, config.hookpoints)
    progress.stage(f"loading {config.model} on {where}")
    lm = load_model(config.model, config.model_revision, where, config.dtype, config.chat)
    prompts = []
    for problem in problems:
        ids = prompt_ids(lm.tokenizer, lm.frames, problem.question, config.mode)
        prompts.append(Prompt(problem.problem, problem, config.mode, config.seed + problem.problem, tuple(ids)))
    progress.stage(f"writing {len(prompts)} traces of at most {config.max_new_tokens} tokens")
    sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
    written = {made.prompt.inference: made for made, _ in generate(lm, prompts, sampling, (), config.site)}
    traces = [prompt.token_ids + written[prompt.inference].token_ids for prompt in prompts]
    captured = capture(lm, traces, config.hookpoints)
    for hookpoint in config.hookpoints:
        progress.stage(f"encoding at the sites of {hookpoint}")
        saes = load_saes(config.sae, config.sae_revision, [hookpoint], where, config.most_active)
        yield measured(lm, hookpoint, saes.by_hookpoint[hookpoint], captured.pop(hookpoint))


def hookpoints_of(sae: str) -> tuple[str, ...]:
    """All that there are SAEs of in a folder or the bundle. Raises BadValue for what is no folder, MissingFiles."""
    folder = demo.SAES if sae == DEMO else Path(sae).expanduser()
    if not folder.is_dir():
        try:
            validate_repo_id(sae)
        except HFValidationError as error:  # a path, then
            raise BadValue(f"--sae {sae} {'is no folder' if folder.exists() else 'does not exist'}") from error
        raise BadValue(f"--sae {sae} is no folder here: say which of its SAEs with --hookpoints")
    found = hookpoints_in(folder)
    if not found:
        raise MissingFiles(f"{folder} holds no SAEs: folders such as layers.10.mlp with cfg.json and sae.safetensors")
    return tuple(found)
