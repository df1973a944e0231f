"""What identifies the weights of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict

_SAE_AT = "sae_revision "


class Revisions(BaseModel):
    """What identifies the weights of an experiment: hub commits, or `sha256:…` of the files."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    sae: str | None = None
    """Of all SAEs together."""
    saes: dict[str, str] = {}
    """By hookpoint: of its SAE alone, where that is not the revision of them all."""

    def sae_of(self, hookpoint: str) -> str | None:
        """Of one SAE, whichever others it was used with."""
        return self.saes.get(hookpoint, self.sae)

    def facts(self) -> dict[str, str]:
        """As provenance: `model_revision`, `sae_revision`, and `sae_revision HOOKPOINT`."""
        named = {"model_revision": self.model, "sae_revision": self.sae}
        named |= {f"{_SAE_AT}{hookpoint}": own for hookpoint, own in self.saes.items()}
        return {name: revision for name, revision in named.items() if revision is not None}

    def found(self, config: Mapping[str, object]) -> dict[str, str]:
        """By field of a configuration what was found where none was asked for."""
        return {name: fact for name, fact in self.facts().items() if config.get(name, fact) is None}

    @classmethod
    def of_facts(cls, facts: Mapping[str, str]) -> Self:
        """The other way round: all that journals before schema 3, and databases, have."""
        own = {name.removeprefix(_SAE_AT): fact for name, fact in facts.items() if name.startswith(_SAE_AT)}
        return cls(model=facts.get("model_revision"), sae=facts.get("sae_revision"), saes=own)
