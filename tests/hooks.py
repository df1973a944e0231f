"""The hooks of a model that tests share: some stay for good, such as transformers' own where hidden states were asked
for once."""

from __future__ import annotations

from torch.nn import Module


def hooks_of(model: Module) -> list[int]:
    """[modules] how many each has."""
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
