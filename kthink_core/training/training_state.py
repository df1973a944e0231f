"""What going on with a training takes, in one safetensors file that is replaced as a whole.

sparsify's own checkpoint is several pickles and counts one step too few. Here are the same tensors: the SAEs, Adam's
moments, and for how long each feature has been silent. The learning rates follow from the step; nothing is random after
the first step. So a training that went on ends as one that was never stopped, on the same machine bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kthink_core.documents import told
from kthink_core.errors import BadFile
from kthink_core.model.weights import differences, listed, not_finite
from kthink_core.store.files import disk_full, publish, remove, temporary
from kthink_core.store.trainings import CHECKPOINT, Training
from kthink_core.training.trainer import Steps, rates

_REMEDY = "delete it to begin anew"


class _About(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # the library adds its own

    mark: str = Field(max_length=100)
    step: int = Field(ge=1, lt=2**62)
    seen: int = Field(ge=0, lt=2**62)
    seconds: float = Field(ge=0, allow_inf_nan=False)


def save_state(folder: Path, training: Training, steps: Steps, seconds: float) -> None:
    """Replaces the checkpoint; `seconds`: of training so far. Raises DiskFull: the one before it is kept."""
    path = folder / CHECKPOINT
    beside = temporary(path)
    about = {"mark": training.data.digest, "step": steps.done, "seen": steps.seen, "seconds": seconds}
    with disk_full(path, beside):
        remove(beside)
        tensors = {name: tensor.detach().contiguous() for name, tensor in _tensors(steps).items()}
        save_file(tensors, beside, {name: str(value) for name, value in about.items()})
        publish(beside, path)


def restore_state(folder: Path, training: Training, steps: Steps) -> float:
    """Goes on from the checkpoint, if there is one; returns the seconds that were trained until then. Raises BadFile
    where it is damaged or of another training."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0.0
    try:
        with safe_open(path, framework="pt", device=str(steps.model.device)) as file:
            about = _About.model_validate(file.metadata() or {})
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if about.mark != training.data.digest or about.step > steps.steps:
                raise BadFile(path, f"it belongs to another training; {_REMEDY}")
            begun = {name: tuple(tensor.shape) for name, tensor in _tensors(steps, begun=True).items()}
            if wrong := differences(begun, shapes):
                raise BadFile(path, f"{wrong}; {_REMEDY}")
            tensors = {name: file.get_tensor(name) for name in shapes}
    except ValidationError as error:
        raise BadFile(path, f"{told(error)}; {_REMEDY}") from error
    except SafetensorError as error:
        raise BadFile(path, f"it is no whole safetensors file ({error}); {_REMEDY}") from error
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if bad := not_finite(floating):
        raise BadFile(path, f"{listed(bad)}: not every number is finite; {_REMEDY}")
    _put(steps, tensors)
    steps.done = steps.global_step = about.step
    steps.seen = about.seen
    rates(steps)
    return about.seconds


def _tensors(steps: Steps, *, begun: bool = False) -> dict[str, Tensor]:
    """All that changes from step to step, by name. `begun`: with what the optimizer will have after its first."""
    found: dict[str, Tensor] = {}
    for hookpoint, sae in steps.by_hookpoint.items():
        found |= {f"{hookpoint}/sae/{name}": tensor for name, tensor in sae.state_dict().items()}
        found[f"{hookpoint}/silent"] = steps.watches[hookpoint].silent
    for name, silent in steps.num_tokens_since_fired.items():
        found[f"{name}/since_fired"] = silent
    [optimizer] = steps.optimizers
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        state = optimizer.state[parameter]
        if begun and not state:
            state = {"step": torch.tensor(0.0), "exp_avg": parameter, "exp_avg_sq": parameter}
        found |= {f"adam/{index}/{name}": tensor for name, tensor in state.items()}
    return found


def _put(steps: Steps, tensors: Mapping[str, Tensor]) -> None:
    for name, own in _tensors(steps).items():
        if not name.startswith("adam/"):
            own.data.copy_(tensors[name])
    [optimizer] = steps.optimizers
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam/"):
            _, index, part = name.split("/")
            state.setdefault(int(index), {})[part] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
