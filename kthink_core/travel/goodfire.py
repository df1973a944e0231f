"""Goodfire's published layout: one DuckDB database a hookpoint, with two tables.

`tokens` (sequence_id, token_idx, token, decoded_token), by sequence and place; `activations` (feature_id, sequence_id,
token_idx, strength), by feature. Both count from 0; a zero is not stored. Source: Goodfire's release of SAEs of
DeepSeek-R1, github.com/goodfire-ai/r1-interpretability. What is not in the layout, such as segments, log-probabilities
and the SAEs' errors, stays behind; the model and SAEs that it was made with are a comment on either table.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from kthink_core.config import GOODFIRE
from kthink_core.errors import BadValue
from kthink_core.store.database import STORAGE_VERSION, quoted
from kthink_core.store.files import disk_full, publish, remove, temporary
from kthink_core.store.reader import Reader, open_reader

TOKENS = {"sequence_id": "INTEGER", "token_idx": "INTEGER", "token": "INTEGER", "decoded_token": "VARCHAR"}
ACTIVATIONS = {"feature_id": "INTEGER", "sequence_id": "INTEGER", "token_idx": "INTEGER", "strength": "FLOAT"}

_TABLES = {
    "tokens": (
        TOKENS,
        """
        SELECT inference AS sequence_id, position AS token_idx, token_id AS token, text AS decoded_token
        FROM tokens ORDER BY inference, position
        """,
    ),
    "activations": (
        ACTIVATIONS,
        """
        SELECT feature AS feature_id, inference AS sequence_id, position AS token_idx, activation AS strength
        FROM latents WHERE hookpoint = $hookpoint ORDER BY feature, inference, position
        """,
    ),
}


def export_goodfire(cache: Path, name: str, folder: Path) -> list[Path]:
    """Writes a database `HOOKPOINT.duckdb` for each hookpoint of an experiment into a folder, which is made if need be;
    returns their paths. Those of an earlier export are replaced, each when the new one is whole.

    Raises BadValue where the folder is none, what `open_reader` raises, DiskFull.
    """
    if folder.exists() and not folder.is_dir():
        raise BadValue(f"{folder} is no folder: --layout {GOODFIRE} writes one database a hookpoint into one")
    if not folder.parent.is_dir():
        raise BadValue(f"{folder}: there is no folder {folder.parent}")
    with open_reader(cache, name) as reader:
        folder.mkdir(exist_ok=True)
        return [_write(reader, hookpoint, folder / f"{hookpoint}.duckdb") for hookpoint in reader.experiment.saes]


def _write(reader: Reader, hookpoint: str, target: Path) -> Path:
    beside = temporary(target)
    with disk_full(target, beside):
        remove(beside)
        made = quoted(reader.experiment.model_dump_json())
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
            file = quoted(str(beside.absolute()))
            connection.execute(
                f"ATTACH {file} AS made (STORAGE_VERSION '{STORAGE_VERSION}', RECOVERY_MODE no_wal_writes)"
            )
            for table, (columns, rows) in _TABLES.items():
                described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
                connection.execute(f"CREATE TABLE made.{table} ({described})")
                with reader.stream(rows, {"hookpoint": hookpoint} if "$hookpoint" in rows else None) as incoming:
                    connection.register("incoming", incoming)
                    connection.execute(f"INSERT INTO made.{table} BY NAME FROM incoming")
                    connection.unregister("incoming")
                connection.execute(f"COMMENT ON TABLE made.{table} IS {made}")
            connection.execute("CHECKPOINT made")
            connection.execute("DETACH made")
        publish(beside, target)
    return target
