"""One file to hand to a collaborator: a DuckDB database, or the latents as Parquet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kthink_core.errors import BadValue, CorruptFile
from kthink_core.records import Inference
from kthink_core.store.damage import REMEDY, is_sound
from kthink_core.store.database import build_database
from kthink_core.store.directions import read_directions
from kthink_core.store.fidelity_files import Measured, read_fidelity
from kthink_core.store.files import Layout, disk_full, publish, remove, temporary
from kthink_core.store.injections import read_injections
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import Reader, open_reader

# Exact copies of tokens belong to each latent, so that the file stands alone.
_LATENTS = """
SELECT hookpoint::VARCHAR AS hookpoint, feature, inference, position, activation, token_id, text,
    latents.segment::VARCHAR AS segment
FROM latents JOIN tokens USING (inference, position)
ORDER BY latents.hookpoint, feature, inference, position
"""


def _nothing(_: Path) -> None:
    """Nothing is added."""


def export(cache: Path, name: str, target: Path, add: Callable[[Path], None] = _nothing) -> Path:
    """Writes what is visible of an experiment to one file, which stands alone; returns `target`.

    `.duckdb`: a database with all tables, and `injections`: what token injection said of features. `.parquet`: every
    activation with its token (hookpoint, feature, inference, position, activation, token_id, text, segment);
    configuration and provenance in the file's metadata under `kthink.experiment`. `add` may add to the database before
    it has its name. An existing file is replaced when the new one is whole. Raises BadValue for another ending or a
    missing folder, CorruptFile where the database is not what was built, and what `open_reader` raises; DiskFull.
    """
    if target.suffix not in (".duckdb", ".parquet"):
        raise BadValue(f"{target} ends in neither .duckdb nor .parquet")
    if not target.parent.is_dir():
        raise BadValue(f"{target}: there is no folder {target.parent}")
    with open_reader(cache, name) as reader:
        if target.suffix == ".parquet":
            _export_parquet(reader, target)
        else:
            _export_database(Layout(cache / name), reader, target, add)
    return target


_INJECTIONS = """
CREATE TABLE injections (
    hookpoint VARCHAR, feature INTEGER, verdict VARCHAR, strategy VARCHAR, d DOUBLE, p DOUBLE, p_best DOUBLE, n INTEGER,
    fires_in DOUBLE, fires_in_injected DOUBLE, controls DOUBLE, compared INTEGER,
    other INTEGER, other_d DOUBLE, result VARCHAR
)
"""


def _add_injections(path: Path, reader: Reader) -> None:
    """What token injection said of features, in a table of its own; `result` is the stored document, as JSON."""
    rows = [
        (hookpoint, one.feature, one.verdict, one.strategy, one.d, one.p, one.p_best, one.n, one.fires_in,
         one.fires_in_injected, one.same_verdict, len(one.compared) or None,
         one.other, one.other_d, one.model_dump_json())
        for hookpoint in reader.experiment.saes
        for one in read_injections(reader.layout, reader.experiment, hookpoint).found
    ]  # fmt: skip
    with duckdb.connect(str(path), config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute(_INJECTIONS)
        if rows:
            connection.executemany(f"INSERT INTO injections VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _export_database(layout: Layout, reader: Reader, target: Path, add: Callable[[Path], None]) -> None:
    manifest, version = read_manifest(layout, reader.experiment.mark)
    entry = manifest.database
    if entry and entry.sha256 and not manifest.increments and version == reader.version:
        beside, path = temporary(target), layout.folder / entry.file
        with disk_full(target, beside):
            remove(beside)
            shutil.copyfile(path, beside)
            if not is_sound(beside, entry):
                raise CorruptFile(path, REMEDY)
            _add_injections(beside, reader)
            add(beside)
            publish(beside, target)
    else:
        experiment = reader.experiment
        directions = read_directions(layout.directions, experiment.mark)[0] if layout.directions.exists() else None

        def fidelity(inference: Inference) -> Measured | None:
            return read_fidelity(layout.fidelity_of(inference.inference), inference, experiment.mark)

        inferences = map(reader.inference, reader.inference_ids)
        beside = temporary(target)
        with disk_full(target, beside):
            build_database(beside, experiment, inferences, directions, fidelity=fidelity)
            _add_injections(beside, reader)
            add(beside)
            publish(beside, target)


def _export_parquet(reader: Reader, target: Path) -> None:
    beside = temporary(target)
    metadata = {"kthink.experiment": reader.experiment.model_dump_json()}
    with disk_full(target, beside):
        remove(beside)
        with reader.stream(_LATENTS) as batches:
            schema = batches.schema.with_metadata(metadata)
            with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema))
        publish(beside, target)
