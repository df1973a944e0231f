"""Files that tell when they are damaged.

A sealed file has a digest of itself, in which the digest itself counts as zeros. Of a Parquet file it is in the
metadata, with the schema version and the mark of the experiment: Parquet's own checksums leave out the footer, and a
changed byte there can make a reader fail in any way. Of a JSON file it is the last field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kthink_core.config import JOURNAL_SCHEMA
from kthink_core.documents import parse_object, read_bounded
from kthink_core.errors import BadFile, CorruptFile, ForeignFile, KthinkError, SchemaTooNew

MOST_BYTES = 2**31
"""Of a Parquet file, and of what it says that it holds uncompressed."""

_VERSION = b"kthink.schema_version"
_MARK = b"kthink.experiment"
_DIGEST = b"sha256:"
_ZEROS = _DIGEST + b"0" * 64


def sealed(table: pa.Table, mark: str | None, *, dictionary: bool = False) -> tuple[bytes, str]:
    """The content of a Parquet file with a table, its schema version, the experiment's mark where one is given, and
    its digest; and the digest."""
    metadata = {_VERSION: str(JOURNAL_SCHEMA).encode(), b"kthink.digest": _ZEROS}
    if mark is not None:
        metadata[_MARK] = mark.encode()
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        write_statistics=False,
    )
    return _seal(sink.getvalue().to_pybytes())


def read_sealed(path: Path, mark: str | None, remedy: str) -> tuple[pa.Table, str]:
    """The table of a sealed file and its digest. `mark`: of the experiment that it should belong to; None: to any.

    Raises CorruptFile with the remedy where it is damaged, ForeignFile, SchemaTooNew, OSError.
    """
    try:
        content = read_bounded(path, MOST_BYTES)
    except BadFile as error:
        raise CorruptFile(path, remedy, error.reason) from error
    digest = _digest_of(content)
    if digest is None:
        raise CorruptFile(path, remedy)
    try:
        table = _table(content)
    except (pa.ArrowException, OSError) as error:  # sealed by somebody who wrote something else
        raise CorruptFile(path, remedy, "it is no Parquet file of this kind") from error
    metadata = table.schema.metadata or {}
    version = metadata.get(_VERSION, b"")
    if not version.isdigit() or len(version) > 9:
        raise CorruptFile(path, remedy)
    if int(version) > JOURNAL_SCHEMA:
        raise SchemaTooNew(path, int(version), JOURNAL_SCHEMA)
    if mark is not None and metadata.get(_MARK, mark.encode()) != mark.encode():  # older versions left no mark
        raise ForeignFile(path)
    return table, digest.decode()


def is_of_this_version(path: Path, mark: str) -> bool:
    """Whether a file is sound, of this version's schema, and bears the experiment's mark. Raises OSError."""
    try:
        table, _ = read_sealed(path, mark, "")
    except KthinkError:
        return False
    metadata = table.schema.metadata
    return metadata[_VERSION] == str(JOURNAL_SCHEMA).encode() and _MARK in metadata


def sealed_json(fields: Mapping[str, Any]) -> bytes:
    """The content of a JSON file with some fields and, as the last one, its digest."""
    return _seal(json.dumps({**fields, "digest": _ZEROS.decode()}, indent=1).encode())[0]


def open_sealed_json(path: Path, content: bytes) -> tuple[dict[str, Any], bool]:
    """The fields of such a file, and whether they are sealed: older versions did not. Raises BadFile."""
    fields = parse_object(path, content)
    digest = fields.pop("digest", None)
    if digest is None:
        return fields, False
    found = _digest_of(content)
    if found is None or found.decode() != digest:
        raise BadFile(path, "its digest is not that of its content")
    return fields, True


def _table(content: bytes) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        groups = range(file.metadata.num_row_groups)
        if sum(file.metadata.row_group(group).total_byte_size for group in groups) > MOST_BYTES:
            raise pa.ArrowInvalid("more than is read")
        return file.read()


def _seal(content: bytes) -> tuple[bytes, str]:
    start = content.rindex(_ZEROS)
    digest = _digest(content)
    return content[:start] + digest + content[start + len(_ZEROS) :], digest.decode()


def _digest_of(content: bytes) -> bytes | None:
    """The digest that a content has in it; None where it is not its own."""
    start = content.rfind(_DIGEST)
    digest = content[start : start + len(_ZEROS)]
    if start < 0 or digest != _digest(content[:start] + _ZEROS + content[start + len(_ZEROS) :]):
        return None
    return digest


def _digest(content: bytes) -> bytes:
    return _DIGEST + hashlib.sha256(content).hexdigest().encode()
