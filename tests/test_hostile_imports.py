"""Files from strangers: nothing in them runs, and what is not as it should be is refused in one line, nothing left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import sample_experiment, sample_fidelity, sample_inferences

from kthink_core.errors import BadFile, KthinkError, SchemaTooNew
from kthink_core.store.causal_studies import AblationStudy
from kthink_core.store.export import export
from kthink_core.store.studies import made_with
from kthink_core.store.writer import open_writer
from kthink_core.travel.carried_studies import Carried, add_studies
from kthink_core.travel.goodfire import export_goodfire
from kthink_core.travel.imports import import_experiment

EXPERIMENT = sample_experiment(inferences=4)
H = next(iter(EXPERIMENT.saes))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`own.duckdb` and the folder `goodfire`, as they are exported."""
    folder = tmp_path_factory.mktemp("sound")
    with open_writer(folder / "cache", EXPERIMENT) as writer:
        for inference in sample_inferences(EXPERIMENT):
            writer.append(inference)
            writer.fidelity.put(inference, sample_fidelity(inference))
        writer.build()
    export(folder / "cache", EXPERIMENT.name, folder / "own.duckdb")
    export_goodfire(folder / "cache", EXPERIMENT.name, folder / "goodfire")
    return folder


@pytest.fixture
def own(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound / "own.duckdb", tmp_path / "own.duckdb"))


@pytest.fixture
def goodfire(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound / "goodfire" / f"{H}.duckdb", tmp_path / f"{H}.duckdb"))


def harm(path: Path, *statements: str) -> None:
    with duckdb.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(cache: Path, path: Path) -> str:
    """What the import says; it leaves nothing."""
    with pytest.raises((BadFile, SchemaTooNew)) as caught:
        import_experiment(cache, path)
    assert {left.name for left in cache.iterdir()} == {".import.lock"}
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


INERT = {
    "a view": ["CREATE VIEW spy AS SELECT * FROM read_text('SECRET')"],
    "a view in a table's place": ["ALTER TABLE tokens RENAME TO kept", "CREATE VIEW tokens AS FROM kept"],
    "a view of another file": ["CREATE VIEW spy AS SELECT * FROM 'SECRET'"],
    "a macro": ["CREATE MACRO length(x) AS 0"],
    "a table macro": ["CREATE MACRO spy() AS TABLE SELECT * FROM read_text('SECRET')"],
    "a computed column": ["CREATE TABLE spy (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1))"],
    "a schema": ["CREATE SCHEMA tokens", "CREATE TABLE tokens.tokens (a INTEGER)"],
    "many tables": [f"CREATE TABLE t{number} (a INTEGER)" for number in range(101)],
}


@pytest.mark.parametrize("statements", INERT.values(), ids=INERT)
@pytest.mark.parametrize("layout", ["own", "goodfire"])
def test_what_is_more_than_tables_is_refused(
    own: Path, goodfire: Path, tmp_path: Path, layout: str, statements: list[str]
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    path = own if layout == "own" else goodfire
    harm(path, *(statement.replace("SECRET", str(secret)) for statement in statements))
    assert "only plain tables are read" in (message := refused(tmp_path / "cache", path)) or "at most 100" in message


def test_defaults_and_checks_of_a_table_never_run(goodfire: Path, tmp_path: Path) -> None:
    """Rows are read, never written: what would be computed for new rows is not."""
    harm(goodfire, "CREATE SEQUENCE s", "ALTER TABLE tokens ALTER token SET DEFAULT nextval('s')")
    assert import_experiment(tmp_path / "cache", goodfire).inferences == 4


def test_statements_in_names_are_names(own: Path, goodfire: Path, tmp_path: Path) -> None:
    name = "x\"; ATTACH '/tmp/evil.duckdb' AS evil; --"
    quoted = '"' + name.replace('"', '""') + '"'
    harm(own, f"ALTER TABLE tokens RENAME text TO {quoted}")
    assert "its table tokens is not that of an export" in refused(tmp_path / "cache", own)
    renamed = goodfire.rename(goodfire.with_name("'; ATTACH 'evil' AS evil; --.duckdb"))
    made = import_experiment(tmp_path / "cache", renamed, "quoted")
    assert list(made.experiment.saes) == ["___ATTACH__evil__AS_evil____"] and not (tmp_path / "evil").exists()


def test_what_is_no_database(tmp_path: Path, own: Path) -> None:
    path, cache = tmp_path / "no.duckdb", tmp_path / "cache"
    path.write_bytes(b"")
    refused(cache, path)
    path.write_bytes(os.urandom(5000))
    refused(cache, path)
    path.write_bytes(own.read_bytes()[:20_000])
    refused(cache, path)
    path.unlink()
    os.mkfifo(path)
    assert "it is no plain file" in refused(cache, path)
    empty = tmp_path / "empty.duckdb"
    duckdb.connect(empty).close()
    assert "neither an export of kthink nor of Goodfire's layout" in refused(cache, empty)


@settings(max_examples=settings.default.max_examples // 4)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_of_no_account(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, at: float, value: int
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = Path(shutil.copy(sound / "goodfire" / f"{H}.duckdb", folder))
    with path.open("r+b") as file:
        file.seek(int(at * path.stat().st_size))
        [byte] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ value]))
    try:
        assert import_experiment(folder / "cache", path, "x").inferences == 4
    except KthinkError as error:
        assert "\n" not in str(error)
    shutil.rmtree(folder)


OWN = {
    "a later version": ("UPDATE experiment SET schema_version = 99", "has store schema 99"),
    "version 1": ("UPDATE experiment SET schema_version = 1", "has store schema 1"),
    "no version": ("UPDATE experiment SET schema_version = NULL", "what it was made with"),
    "no experiment": ("DELETE FROM experiment", "what it was made with"),
    "two experiments": ("INSERT INTO experiment FROM experiment", "what it was made with"),
    "a long configuration": ("UPDATE experiment SET config = repeat('x', 2000000)", "what it was made with"),
    "no configuration": ("UPDATE experiment SET config = NULL", "what it was made with"),
    "deep JSON": ("UPDATE experiment SET config = repeat('[', 100000)", "what it was made with"),
    "a foreign key": ("UPDATE experiment SET config = '{\"run\": 1}'", "what it was made with"),
    "a module that is none": (
        "UPDATE experiment SET config = replace(config, 'layers.2.mlp', '../../etc'), "
        "saes = replace(saes, 'layers.2.mlp', '../../etc')", "what it was made with",
    ),
    "huge SAEs": ("UPDATE experiment SET saes = replace(saes, '24', '240000000000')", "what it was made with"),
    "a million facts": (
        "UPDATE experiment SET provenance = (SELECT to_json(map(list(i::VARCHAR), list('x'))) FROM range(200) t(i))",
        "provenance",
    ),
    "more inferences than any": ("UPDATE experiment SET inferences = 2000000000", "what it was made with"),
    "a negative inference": ("UPDATE inferences SET inference = -1 WHERE inference = 2", "no number from 0"),
    "a huge inference": ("UPDATE inferences SET inference = 2000000000 WHERE inference = 2", "no number from 0"),
    "no number": ("UPDATE inferences SET inference = NULL WHERE inference = 2", "no number from 0"),
    "an inference twice": ("INSERT INTO inferences FROM inferences WHERE inference = 1", "an inference twice"),
    "no inferences": ("DELETE FROM inferences", "no inference in it"),
    "a lost inference": ("DELETE FROM inferences WHERE inference = 1", "whose tokens are not at the positions"),
    "a lost transcript": ("DELETE FROM tokens WHERE inference = 1", "whose tokens are not at the positions"),
    "a negative position": ("UPDATE tokens SET position = -1 WHERE position = 0", "are not at the positions"),
    "a gap": ("UPDATE tokens SET position = 2000000000 WHERE position = 2", "are not at the positions"),
    "a position twice": ("UPDATE tokens SET position = 1 WHERE position = 0", "two tokens at one position"),
    "no text": ("UPDATE tokens SET text = NULL WHERE position = 1", "a token without"),
    "a long text": ("UPDATE tokens SET text = repeat('x', 3000) WHERE position = 1", "a token without"),
    "a negative token": ("UPDATE tokens SET token_id = -5 WHERE position = 1", "a token without"),
    "an infinite logprob": ("UPDATE tokens SET logprob = '-inf' WHERE position = 4", "not finite"),
    "a wrong segment": ("UPDATE tokens SET segment = 'answer' WHERE position = 0", "token_latents has not one row"),
    "a long prompt": (
        "DELETE FROM alternatives; UPDATE inferences SET prompt_tokens = 2000000000",
        "its prompt is not the first",
    ),
    "a strange mode": ("UPDATE inferences SET mode = '<script>'", "mode"),
    "no mode": ("UPDATE inferences SET mode = NULL", "mode"),
    "a strange end": ("UPDATE inferences SET finish_reason = 'x'", "finish_reason"),
    "no question": ("UPDATE inferences SET question = NULL", "question"),
    "an endless question": ("UPDATE inferences SET question = repeat('x', 3000000)", "question"),
    "a temperature": ("UPDATE inferences SET temperature = 'nan'", "temperature"),
    "a feature outside": ("UPDATE token_latents SET features = [24], activations = [1]", "latents that no position"),
    "a negative feature": ("UPDATE token_latents SET features = [-1], activations = [1]", "latents that no position"),
    "no feature": ("UPDATE token_latents SET features = [NULL], activations = [1]", "latents that no position has"),
    "a feature twice": ("UPDATE token_latents SET features = [1, 1], activations = [1, 2]", "latents that no position"),
    "lists of two lengths": ("UPDATE token_latents SET features = [1, 2], activations = [1]", "latents that no"),
    "no lists": ("UPDATE token_latents SET features = NULL", "latents that no position has"),
    "an activation of 0": ("UPDATE token_latents SET features = [1], activations = [0]", "latents that no position"),
    "a negative activation": ("UPDATE token_latents SET features = [1], activations = [-1]", "latents that no"),
    "NaN": ("UPDATE token_latents SET features = [1], activations = ['nan'::FLOAT]", "latents that no position"),
    "infinity": ("UPDATE token_latents SET features = [1, 2], activations = [1, 'inf'::FLOAT]", "latents that no"),
    "a lost position": ("DELETE FROM token_latents WHERE position = 1", "token_latents has not one row"),
    "a position more": (
        "INSERT INTO quality SELECT * REPLACE (5000 AS position) FROM quality LIMIT 1", "quality has not one row"
    ),
    "quality twice": ("INSERT INTO quality FROM quality", "quality has not one row"),
    "an infinite error": ("UPDATE quality SET squared_error = 'inf'", "not finite"),
    "sums too wide": ("UPDATE vector_sums SET sum = list_value(1, 2)", "sums of another width"),
    "no sums": ("DELETE FROM vector_sums", "its sums are not those"),
    "two sums": ("INSERT INTO vector_sums FROM vector_sums", "two sums of one segment"),
    "a null sum": ("UPDATE vector_sums SET sum = NULL", "sums of another width"),
    "a strange action": ("UPDATE interventions SET action = 'explode'", "an intervention that there is not"),
    "an intervention elsewhere": ("UPDATE interventions SET hookpoint = 'x'", "an intervention that there is not"),
    "an endless intervention": ("UPDATE interventions SET value = 'inf'", "an intervention that there is not"),
    "many interventions": ("INSERT INTO interventions SELECT i.* FROM interventions i, range(2000)", "interventions"),
    "fidelity twice": ("INSERT INTO fidelity FROM fidelity", "fidelity"),
    "half the fidelity": ("DELETE FROM fidelity WHERE position = 1", "fidelity"),
    "infinite fidelity": ("UPDATE fidelity SET kl = 'inf'", "fidelity"),
    "a neighbour outside": (f"INSERT INTO neighbours VALUES ('{H}', 1, 1, 24, 0.5)", "a neighbour that no feature"),
    "a neighbour twice": (
        f"INSERT INTO neighbours VALUES ('{H}', 1, 1, 2, 0.5), ('{H}', 1, 1, 3, 0.5)", "two neighbours of one rank"
    ),
    "a promoted token": (
        f"INSERT INTO promoted_tokens VALUES ('{H}', 1, 'wrong', 1, 2, 'x', 0.5)", "a promoted token that no feature"
    ),
    "a result that is none": ("INSERT INTO injections (result) VALUES ('{\"version\": 1}')", "origin"),
    "notes of another kind": ("CREATE TABLE notes (a INTEGER)", "its table notes"),
    "a column more": ("ALTER TABLE tokens ADD COLUMN more INTEGER", "its table tokens is not that of an export: more"),
    "a column less": ("ALTER TABLE tokens DROP COLUMN text", "its table tokens is not that of an export: text"),
    "a column of another type": ("ALTER TABLE inferences ALTER question TYPE BLOB", "its table inferences is not"),
    "a wider type": ("ALTER TABLE tokens ALTER position TYPE BIGINT", "its table tokens is not"),
    "a table less": ("DROP TABLE quality", "its table quality is not"),
    "another experiment table": ("ALTER TABLE experiment ADD COLUMN x INTEGER", "its table experiment is not"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "told"), OWN.values(), ids=OWN)
def test_an_export_that_is_none_is_refused(own: Path, tmp_path: Path, statement: str, told: str) -> None:
    harm(own, statement)
    assert told in refused(tmp_path / "cache", own)


GOODFIRE = {
    "a negative place": ("UPDATE tokens SET token_idx = -1 WHERE token_idx = 0", "a token_idx that is no number"),
    "no sequence": ("UPDATE tokens SET sequence_id = NULL WHERE token_idx = 0", "a sequence_id that is no number"),
    "a negative token": ("UPDATE tokens SET token = -1", "a token that is no number"),
    "no text": ("UPDATE tokens SET decoded_token = NULL", "a token without text"),
    "a long text": ("UPDATE tokens SET decoded_token = repeat('x', 3000)", "a token without text"),
    "a huge feature": ("UPDATE activations SET feature_id = 2000000000", "a feature_id that is no number"),
    "a negative feature": ("UPDATE activations SET feature_id = -1", "a feature_id that is no number"),
    "a negative strength": ("UPDATE activations SET strength = -1", "a strength that is no finite number"),
    "NaN": ("UPDATE activations SET strength = 'nan'", "a strength that is no finite number"),
    "infinity": ("UPDATE activations SET strength = 'inf'", "a strength that is no finite number"),
    "no strength": ("UPDATE activations SET strength = NULL", "a strength that is no finite number"),
    "a strength that no FLOAT holds": (
        "ALTER TABLE activations ALTER strength TYPE DOUBLE; UPDATE activations SET strength = 1e300",
        "a strength that is no finite number",
    ),
    "a token twice": ("INSERT INTO tokens FROM tokens", "two tokens at one place"),
    "a strength twice": ("INSERT INTO activations FROM activations", "two strengths"),
    "an activation at no token": ("UPDATE activations SET token_idx = token_idx + 1000", "a place without a token"),
    "no tokens": ("DELETE FROM tokens; DELETE FROM activations", "sequences"),
    "a token of text": ("ALTER TABLE tokens ALTER token TYPE VARCHAR", "tokens.token is VARCHAR, not INTEGER"),
    "a text of bytes": (
        "ALTER TABLE tokens ALTER decoded_token TYPE BLOB USING encode(decoded_token)", "tokens.decoded_token is BLOB"
    ),
    "a list of strengths": (
        "ALTER TABLE activations ALTER strength TYPE FLOAT[] USING [strength]", "activations.strength is FLOAT[]"
    ),
    "a long sequence": (
        "INSERT INTO tokens SELECT 0, i + 1000, 1, 'x' FROM range(2000000) t(i)", "a sequence of more than"
    ),
    "many sequences": ("INSERT INTO tokens SELECT i + 9, 0, 1, 'x' FROM range(1000001) t(i)", "1,000,000 sequences"),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "told"), GOODFIRE.values(), ids=GOODFIRE)
def test_a_layout_that_is_none_is_refused(goodfire: Path, tmp_path: Path, statements: str, told: str) -> None:
    harm(goodfire, *statements.split("; "))
    assert told in refused(tmp_path / "cache", goodfire)


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"kind": "feature"}', '{"kind": "x", "what": "note", "value": "x"}', "\x00", "[" * 100_000,
             '{"kind": "span", "what": "note", "value": "x", "path": "/etc"}',
             '{"kind": "inference", "inference": -1, "what": "note", "value": "x"}',
             '{"kind": "inference", "what": "note", "value": "' + "x" * 30_000 + '"}'],
    ids=range(9),
)  # fmt: skip
def test_notes_that_are_none_are_refused(sound: Path, tmp_path: Path, line: str) -> None:
    folder = Path(shutil.copytree(sound / "goodfire", tmp_path / "folder"))
    (folder / "notes.jsonl").write_text(line)
    with pytest.raises(BadFile, match=r"notes\.jsonl"):
        import_experiment(tmp_path / "cache", folder)
    assert {left.name for left in (tmp_path / "cache").iterdir()} == {".import.lock"}


def test_a_log_beside_a_received_file_is_checked_too(own: Path, tmp_path: Path) -> None:
    """DuckDB replays what a stranger left in FILE.wal."""
    connection = duckdb.connect(own)
    connection.execute("SET checkpoint_threshold = '1TB'")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    connection.execute("CREATE VIEW spy AS SELECT 1")
    connection.close()
    assert own.with_name("own.duckdb.wal").exists()
    assert "it has a view, 'spy'" in refused(tmp_path / "cache", own)


ABLATED = """{"version": 1, "complete": true, "made": {"model": "M", "saes": {}, "site": "hookpoint", "kthink": "0",
    "created": "2026", "device": "cpu", "dtype": "float32"}, "trace": {"inference": 0, "digest": "sha256:DIGEST",
    "prompt_tokens": 1, "tokens": 2}, "question": {"hookpoint": "H", "features": [1], "span": null}, "effects": [
    {"feature": 1, "positions": [], "activations": [], "kl": [0, 0], "change": [0, 0]}]}"""


@pytest.mark.parametrize(
    ("kind", "id", "document", "told"),
    [
        ("ablation", "0" * 12, "{", "it is no JSON"),
        ("ablation", "0" * 12, ABLATED.replace("[0, 0]", "[0, 1e999]"), "ablation|JSON|number"),
        ("ablation", "0" * 12, ABLATED.replace('"kl"', '"script"'), "script"),
        ("ablation", "0" * 12, ABLATED, "answers another question"),
        ("ablation", "../../../x", ABLATED, "answers another question"),
        ("../journal", "0" * 12, ABLATED, "no study"),
        ("sweep", None, ABLATED, "no study"),
        ("sentences", "0" * 12, None, "no study"),
    ],
)
def test_studies_that_are_none_are_refused(
    own: Path, tmp_path: Path, kind: str, id: str | None, document: str | None, told: str
) -> None:
    with duckdb.connect(own) as connection:
        connection.execute("CREATE TABLE studies (kind VARCHAR, id VARCHAR, document VARCHAR)")
        text = document and document.replace("DIGEST", "0" * 64)
        connection.execute("INSERT INTO studies VALUES (?, ?, ?)", [kind, id, text])
    with pytest.raises(BadFile, match=told):
        import_experiment(tmp_path / "cache", own, studies=True)
    assert {left.name for left in (tmp_path / "cache").iterdir()} == {".import.lock"}


def test_a_study_of_another_model_or_trace_is_refused(own: Path, sound: Path, tmp_path: Path) -> None:
    """Well made, under its right name."""
    study = AblationStudy.model_validate_json(ABLATED.replace("DIGEST", "0" * 64))
    ours = study.model_copy(update={"made": made_with(EXPERIMENT, [H], "cpu", "float32")})
    for wrong, told in ((study, "another model"), (ours, "not of a trace of the experiment")):
        path = Path(shutil.copy(own, tmp_path / "other.duckdb"))
        add_studies(path, [Carried("ablation", wrong)])
        with pytest.raises(BadFile, match=told):
            import_experiment(tmp_path / "cache", path, studies=True)
