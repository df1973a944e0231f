"""Parquet files that tell when they are damaged.

The metadata has the schema version and a digest of the whole file, in which the digest itself counts as zeros:
Parquet's own checksums leave out the footer, and a changed byte there can make a reader fail in any way.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kthink_core.config import SCHEMA
from kthink_core.errors import CorruptFile, SchemaTooNew

_VERSION = b"kthink.schema_version"
_DIGEST = b"sha256:"
_ZEROS = _DIGEST + b"0" * 64


def sealed(table: pa.Table, *, dictionary: bool = False) -> tuple[bytes, str]:
    """The content of a Parquet file with a table, its schema version and its digest; and the digest."""
    metadata = {_VERSION: str(SCHEMA).encode(), b"kthink.digest": _ZEROS}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        write_statistics=False,
    )
    content = sink.getvalue().to_pybytes()
    start = content.rindex(_ZEROS)
    digest = _digest(content)
    return content[:start] + digest + content[start + len(_ZEROS) :], digest.decode()


def read_sealed(path: Path, remedy: str) -> tuple[pa.Table, str]:
    """The table of a sealed file and its digest.

    Raises CorruptFile with the remedy where it is damaged, SchemaTooNew, FileNotFoundError.
    """
    content = path.read_bytes()
    start = content.rfind(_DIGEST)
    digest = content[start : start + len(_ZEROS)]
    if start < 0 or digest != _digest(content[:start] + _ZEROS + content[start + len(_ZEROS) :]):
        raise CorruptFile(path, remedy)
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        table = file.read()
    version = (table.schema.metadata or {}).get(_VERSION, b"")
    if not version.isdigit():
        raise CorruptFile(path, remedy)
    if int(version) > SCHEMA:
        raise SchemaTooNew(path, int(version), SCHEMA)
    return table, digest.decode()


def _digest(content: bytes) -> bytes:
    return _DIGEST + hashlib.sha256(content).hexdigest().encode()
