"""Results of token injection as they are stored, listed and exported; and read by somebody who did not write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from kthink_core.errors import BadFile, BadValue, OutOfRange, UnknownName
from kthink_core.evidence.driving_tokens import LEAST, drivers_of, firing_features
from kthink_core.evidence.injection_results import COLUMNS, doubts, injection, left_out
from kthink_core.evidence.injection_results import table as table_of
from kthink_core.evidence.injection_run import Materials, check_texts, run
from kthink_core.evidence.injection_test import LENGTH, TEXTS
from kthink_core.evidence.strategies import Injected
from kthink_core.store.export import export
from kthink_core.store.injections import (
    Control,
    Injection,
    Verdict,
    injections_state,
    read_injection,
    read_injections,
    save,
)
from kthink_core.store.reader import Reader, open_reader
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment

HOOKPOINT = HOOKPOINTS[0]


class Counted:
    """A probe that fires as often as a text holds an odd token."""

    def __init__(self) -> None:
        self.texts = np.random.default_rng(0).integers(0, 40, (TEXTS, LENGTH)).tolist()

    def baselines(self, features: list[int]) -> NDArray[np.float64]:
        return np.array([[sum(token % 2 for token in text) for text in self.texts] for _ in features], float)

    def maxima(self, rows: list[tuple[int, Injected]]) -> NDArray[np.float64]:
        return np.array([sum(token % 2 for token in changed.token_ids) for _, changed in rows], float)

    def activations(self, feature: int, token_ids: list[int]) -> NDArray[np.float64]:
        return np.array([token % 2 for token in token_ids], float)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("tested", 12))
    return folder


@pytest.fixture(scope="module")
def reader(cache: Path) -> Reader:
    found = open_reader(cache, "tested")
    materials = Materials(found, HOOKPOINT, Counted(), lambda token_id: f"<{token_id}>", "odd texts", 3)  # type: ignore[arg-type]
    features = firing_features(found, HOOKPOINT)[:12]
    steps = list(run(materials, features))
    assert [step.result.feature for step in steps if step.result] == features
    assert steps[-1].done == steps[-1].of == len(features) + 10
    again = list(run(materials, features[:2]))
    assert again[-1].of == 2  # the controls are there already
    return found


def test_top_tokens_by_plain_counting(reader: Reader) -> None:
    feature = firing_features(reader, HOOKPOINT)[3]
    rows = reader.query(
        "SELECT inference, position, token_id, activation FROM latents JOIN tokens USING (inference, position) "
        "WHERE hookpoint = $h AND feature = $f AND latents.segment != 'prompt' ORDER BY inference, position",
        {"h": HOOKPOINT, "f": feature},
    ).to_dict("records")
    by: dict[int, list[float]] = {}
    for row in rows:
        by.setdefault(row["token_id"], []).append(float(row["activation"]))
    means = {token: sum(values) / len(values) for token, values in by.items() if len(values) >= LEAST}
    expected = sorted(means, key=lambda token: (-means[token], token))[:10]
    drivers = drivers_of(reader, HOOKPOINT, feature)
    assert [unit[0] for unit in drivers.tokens] == expected and expected
    tokens = {
        (r, p): t for r, p, t in reader.query("SELECT inference, position, token_id FROM tokens").to_numpy().tolist()
    }
    for unit, token in zip(drivers.before, expected, strict=False):
        counts: dict[int, int] = {}
        for row in rows:
            beside = tokens.get((row["inference"], row["position"] - 1))
            if row["token_id"] == token and beside is not None:
                counts[beside] = counts.get(beside, 0) + 1
        assert unit == (min(counts, key=lambda other: (-counts[other], other)), token)
    fired = {(row["inference"], row["position"]): float(row["activation"]) for row in rows}
    largest: dict[int, float] = {}
    for (inference, _), activation in fired.items():
        largest[inference] = max(largest.get(inference, 0), activation)
    active = {
        tuple(tokens[inference, position + step] for step in range(3))
        for inference, position in fired
        if all(fired.get((inference, position + step), 0) >= 0.1 * largest[inference] for step in range(3))
    }
    assert set(drivers.active_trigrams) <= active and len(drivers.active_trigrams) == min(10, len(active))


def test_a_result_by_its_columns(reader: Reader) -> None:
    table = injection(reader, HOOKPOINT)
    assert list(table.columns) == list(COLUMNS) and len(table) == 12
    feature = int(table["feature"].iloc[0])
    one = injection(reader, HOOKPOINT, feature)
    assert one.to_dict("records")[0]["verdict"] == table["verdict"].iloc[0]
    found = read_injection(reader.layout, reader.experiment, HOOKPOINT, feature)
    assert found is not None and found.origin.seed == 3 and found.origin.texts_from == "odd texts"
    others = [control for control in found.controls if control.feature != feature]
    same = sum(control.verdict == found.verdict for control in others) / len(others)
    assert table["controls"].iloc[0] == pytest.approx(same)
    assert table["compared"].iloc[0] == len(others)
    assert found.d is not None and found.n
    half = 1.959964 * (2 / found.n + found.d**2 / (4 * found.n)) ** 0.5
    assert (table["d_low"].iloc[0], table["d_high"].iloc[0]) == pytest.approx((found.d - half, found.d + half))
    assert table["fires_in_injected"].iloc[0] == found.tried[0].fires_in_injected
    assert injection(reader, HOOKPOINTS[1]).empty
    with pytest.raises(OutOfRange):
        injection(reader, HOOKPOINT, 10_000)
    with pytest.raises(UnknownName):
        injection(reader, "layers.9.mlp")


def _read(reader: Reader) -> Injection:
    return read_injections(reader.layout, reader.experiment, HOOKPOINT).found[0]


def test_an_older_document_still_counts(reader: Reader) -> None:
    """Without the share of texts in which a feature fires with its tokens."""
    value = _read(reader).model_dump(mode="json")
    for way in value["tried"]:
        del way["fires_in_injected"]
    older = Injection.model_validate(value)
    assert older.fires_in_injected is None and table_of([older])["fires_in_injected"].isna().all()


@pytest.mark.parametrize("verdict", ["silent", "untested"])
def test_where_nothing_was_measured_nothing_is_compared(reader: Reader, verdict: Verdict) -> None:
    nothing = dict.fromkeys(("strategy", "d", "p", "p_best", "other", "other_d", "other_p"))
    found = _read(reader).model_copy(update=nothing | {"verdict": verdict, "n": 0, "tried": (), "shown": ()})
    row = table_of([found]).iloc[0]
    assert row[["controls", "compared", "d_low", "d_high", "fires_in_injected"]].isna().all()
    assert doubts(found) == []


@pytest.mark.parametrize(
    ("same", "positions", "fires_in", "told"),
    [
        (4, 10, 0.3, []),
        (5, 10, 0.3, ["says little about this feature: 5 of 10 features drawn at random have the same."]),
        (4, 9, 0.3, ["says little about this feature: it fires at only 9 positions"]),
        (10, 3, 0.3, ["10 of 10 features drawn at random have the same, and it fires at only 3 positions"]),
        (0, 50, 0.34, ["It fires in 34 % of the texts without reasoning as they are"]),
        (9, 50, 1.0, ["9 of 10", "100 %"]),
    ],
)
def test_what_to_know_before_believing_it(
    reader: Reader, same: int, positions: int, fires_in: float, told: list[str]
) -> None:
    controls = tuple(
        Control(feature=number, verdict="token-driven" if number < same else "context-dependent")
        for number in range(10)
    )
    changed = {"feature": 77, "verdict": "token-driven", "strategy": "append", "controls": controls}
    found = _read(reader).model_copy(update=changed | {"reasoning_positions": positions, "fires_in": fires_in})
    nothing_to_test = tuple(Control(feature=number, verdict="untested") for number in range(20, 40))
    assert doubts(found.model_copy(update={"controls": controls + nothing_to_test})) == doubts(found)
    said = doubts(found)
    assert len(said) == len(told) and all(part in line for part, line in zip(told, said, strict=True))


def test_it_is_exported(reader: Reader, cache: Path, tmp_path: Path) -> None:
    export(cache, "tested", tmp_path / "out.duckdb")
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT hookpoint, feature, verdict, result FROM injections ORDER BY feature"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM inferences").fetchall() == [(12,)]
    assert [row[1] for row in rows] == injection(reader, HOOKPOINT)["feature"].tolist()
    assert all(json.loads(row[3])["verdict"] == row[2] for row in rows)
    assert not list(tmp_path.glob(".tmp-*"))


def _other_feature(value: dict[str, Any]) -> None:
    value["feature"] += 1


def _other_model(value: dict[str, Any]) -> None:
    value["origin"]["model"] = "another"


def _unknown_field(value: dict[str, Any]) -> None:
    value["more"] = 1


def _unknown_verdict(value: dict[str, Any]) -> None:
    value["verdict"] = "<b>proven</b>"


def _later(value: dict[str, Any]) -> None:
    value["version"] = 2


def _impossible(value: dict[str, Any]) -> None:
    value["p"] = 2.0


def _uneven(value: dict[str, Any]) -> None:
    for shown in value["shown"]:
        shown["texts"] = shown["texts"][1:]
    value["shown"] = value["shown"] or [{}]


HARM = (_other_feature, _other_model, _unknown_field, _unknown_verdict, _later, _impossible, _uneven)


@pytest.mark.parametrize("harm", HARM)
def test_what_does_not_fit_does_not_count(reader: Reader, harm: Callable[[dict[str, Any]], None]) -> None:
    path = sorted(reader.layout.folder.glob(f"injections/{HOOKPOINT}/[0-9]*.json"))[0]
    sound = path.read_bytes()
    before = len(injection(reader, HOOKPOINT))
    try:
        value = json.loads(sound)
        harm(value)
        path.write_text(json.dumps(value))
        _refused(reader, path, before)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000, b'{"d": NaN}'])
def test_what_is_no_document_does_not_count(reader: Reader, content: bytes) -> None:
    path = sorted(reader.layout.folder.glob(f"injections/{HOOKPOINT}/[0-9]*.json"))[0]
    sound = path.read_bytes()
    before = len(injection(reader, HOOKPOINT))
    try:
        path.write_bytes(content)
        _refused(reader, path, before)
    finally:
        path.write_bytes(sound)


def _refused(reader: Reader, path: Path, before: int) -> None:
    with pytest.raises(BadFile):
        read_injection(reader.layout, reader.experiment, HOOKPOINT, int(path.stem))
    stored = read_injections(reader.layout, reader.experiment, HOOKPOINT)
    assert len(stored.found) == before - 1 and len(stored.problems) == 1
    assert len(injection(reader, HOOKPOINT)) == before - 1  # the others still count


def test_other_files_beside_it(reader: Reader) -> None:
    folder = reader.layout.folder / "injections" / HOOKPOINT
    before, state = len(injection(reader, HOOKPOINT)), injections_state(reader.layout, HOOKPOINT)
    (folder / "notes.json").write_text("{}")
    (folder / ".tmp-3.json").write_text("{")
    assert len(injection(reader, HOOKPOINT)) == before
    assert injections_state(reader.layout, HOOKPOINT) != state != 0
    assert injections_state(reader.layout, "layers.9.mlp") == 0


def test_texts_that_are_too_few() -> None:
    with pytest.raises(BadValue, match=r"gives 3 texts.*takes 116; 9 shorter ones were left out.*--texts"):
        check_texts([[1]] * 3, 9, "some file")
    check_texts([[1]] * TEXTS, 0, "some file")


def test_the_schema_is_bounded() -> None:
    assert Injection.model_config["extra"] == "forbid"


def _too_many(value: dict[str, Any]) -> None:
    value["n"] = 10**40


def test_a_number_beyond_a_databases_does_not_count(reader: Reader, cache: Path, tmp_path: Path) -> None:
    path = sorted(reader.layout.folder.glob(f"injections/{HOOKPOINT}/[0-9]*.json"))[0]
    sound = path.read_bytes()
    value = json.loads(sound)
    _too_many(value)
    try:
        path.write_text(json.dumps(value))
        export(cache, "tested", tmp_path / "out.duckdb")
        (told,) = left_out(reader, HOOKPOINT)
        assert str(path) in told
    finally:
        path.write_bytes(sound)


def test_what_lies_behind_a_link_does_not_count_and_nothing_is_written_there(
    reader: Reader, tmp_path: Path, cache: Path
) -> None:
    folder = cache / "tested" / "injections"
    path = sorted(folder.glob(f"{HOOKPOINT}/[0-9]*.json"))[0]
    found = read_injection(reader.layout, reader.experiment, HOOKPOINT, int(path.stem))
    assert found is not None
    aside = tmp_path / "elsewhere"
    folder.rename(aside)
    folder.symlink_to(aside)
    try:
        before = sorted(aside.rglob("*"))
        with pytest.raises(BadFile, match="it is a link"):
            save(reader.layout, found)
        assert sorted(aside.rglob("*")) == before
        assert injection(reader, HOOKPOINT).empty and len(left_out(reader, HOOKPOINT)) == 12
    finally:
        folder.unlink()
        aside.rename(folder)
    loop = folder / HOOKPOINT / "999999.json"
    loop.symlink_to(loop)
    try:
        assert len(injection(reader, HOOKPOINT)) == 12
        (told,) = left_out(reader, HOOKPOINT)
        assert "999999.json" in told and "link" in told
    finally:
        loop.unlink()


def test_a_document_by_another_number_is_none(reader: Reader, cache: Path) -> None:
    path = sorted((cache / "tested" / "injections" / HOOKPOINT).glob("[0-9]*.json"))[0]
    twin = path.with_name(f"00{path.name}")
    twin.write_bytes(path.read_bytes())
    try:
        assert len(injection(reader, HOOKPOINT)) == 12 and not left_out(reader, HOOKPOINT)
    finally:
        twin.unlink()
    with pytest.raises(BadValue, match="top is 0"):
        injection(reader, HOOKPOINT, top=0)
