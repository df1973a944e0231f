"""`fidelity/NNNNNN.parquet`: how well the tokens of an inference are predicted through its SAEs, a file an inference.

Columns: hookpoint, position, token_id, and those of `records.Fidelity`. A file is written beside the journal once its
inference is measured, whole or not at all, so that a kill loses one. It holds the tokens that it was measured on: what
was measured on others, of an inference that was lost and generated again, is not taken for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from kthink_core.config import Experiment
from kthink_core.errors import BadFile, CorruptFile
from kthink_core.records import Fidelity, Inference
from kthink_core.store.files import Layout, set_aside, sweep, write_atomically
from kthink_core.store.sealed import read_sealed, sealed

REMEDY = "`precompute` sets it aside and measures the inference again"

FIGURES = Fidelity._fields

_SCHEMA = pa.schema(
    [
        ("hookpoint", pa.dictionary(pa.int32(), pa.string())),
        ("position", pa.int32()),
        ("token_id", pa.int32()),
        *((name, pa.float32()) for name in FIGURES),
    ]
)

Measured = Mapping[str, Fidelity]
"""By hookpoint, of one inference."""


def write_fidelity(path: Path, inference: Inference, found: Measured, mark: str | None = None) -> None:
    """Writes what was measured of an inference; `mark`: the experiment's. Raises DiskFull."""
    positions = len(inference.token_ids)
    hookpoints = np.repeat(np.arange(len(found), dtype=np.int32), positions)
    columns: list[pa.Array] = [
        pa.DictionaryArray.from_arrays(pa.array(hookpoints), pa.array(list(found), pa.string())),
        pa.array(np.tile(np.arange(positions, dtype=np.int32), len(found))),
        pa.array(np.tile(inference.token_ids, len(found))),
    ]
    columns += [
        pa.array(np.concatenate([getattr(each, name) for each in found.values()]).astype(np.float32))
        for name in FIGURES
    ]
    write_atomically(path, sealed(pa.Table.from_arrays(columns, schema=_SCHEMA), mark, dictionary=True)[0])


def read_fidelity(path: Path, inference: Inference, mark: str | None = None) -> Measured | None:
    """What was measured of an inference; None where it was measured on other tokens or other hookpoints, or there is no
    such file. `mark`: of the experiment that it should belong to. Raises CorruptFile, ForeignFile, SchemaTooNew,
    OSError."""
    try:
        table, _ = read_sealed(path, mark, REMEDY)
    except FileNotFoundError:
        return None
    if not table.schema.equals(_SCHEMA, check_metadata=False):
        raise CorruptFile(path, REMEDY)
    hookpoints, positions = list(inference.encodings), len(inference.token_ids)
    expected = [hookpoint for hookpoint in hookpoints for _ in range(positions)]
    if table["hookpoint"].to_pylist() != expected:
        return None
    token_ids = table["token_id"].to_numpy().reshape(len(hookpoints), positions)
    if not np.array_equal(token_ids, np.broadcast_to(inference.token_ids, token_ids.shape)):
        return None
    figures = [table[name].to_numpy().reshape(len(hookpoints), positions) for name in FIGURES]
    return {hookpoint: Fidelity(*(figure[row] for figure in figures)) for row, hookpoint in enumerate(hookpoints)}


class FidelityFiles:
    """Those of one experiment, as its writer keeps them."""

    def __init__(self, layout: Layout, experiment: Experiment, tell: Callable[[str], None]) -> None:
        """Sweeps; the lock must be held. `tell` hears what was damaged. Raises BadFile."""
        self._layout, self._mark, self._tell = layout, experiment.mark, tell
        if layout.fidelity.is_symlink():  # as with the journal: nothing is written outside the experiment's folder
            raise BadFile(layout.fidelity, "it is a link: put the folder itself in its place")
        sweep(layout.fidelity)
        self.known = set[int]()
        """The inferences that are known to be measured."""

    def of(self, inference: Inference) -> Measured | None:
        """What was measured of it. A damaged file is set aside and told, and is as one that is not there."""
        path = self._layout.fidelity_of(inference.inference)
        try:
            found = read_fidelity(path, inference, self._mark)
        except CorruptFile:
            self._tell(f"{path.name} was damaged and is kept as {set_aside(path).name}: it is measured again")
            found = None
        (self.known.discard if found is None else self.known.add)(inference.inference)
        return found

    def put(self, inference: Inference, found: Measured) -> None:
        """Commits what was measured: when this returns, it outlasts any kill. Raises DiskFull."""
        self._layout.fidelity.mkdir(exist_ok=True)
        write_fidelity(self._layout.fidelity_of(inference.inference), inference, found, self._mark)
        self.known.add(inference.inference)
