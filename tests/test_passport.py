"""The SAE's passport against a plain, slow computation from the raw arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from store_samples import HOOKPOINTS, sample_experiment, sample_fidelity, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.evidence.passport import COLUMNS, passport, passport_by_inference
from kthink_core.queries import SCOPES
from kthink_core.records import Encoding, Fidelity, Inference
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.scopes import SEGMENTS_OF, Scope
from kthink_core.store.writer import open_writer

EXPERIMENT = sample_experiment(inferences=12)
H = HOOKPOINTS[1]


def with_sink(inference: Inference) -> Inference:
    """One with a first position that is far longer than all others, as real models have them."""
    lengthened: dict[str, Encoding] = {}
    for hookpoint, encoding in inference.encodings.items():
        norms = encoding.squared_norm.copy()
        norms[0] *= 1000
        sums = encoding.vector_sums | {"prompt": encoding.vector_sums["prompt"] * 10}
        lengthened[hookpoint] = encoding._replace(squared_norm=norms, vector_sums=sums)
    return Inference(**{**vars(inference), "encodings": lengthened})


DRAWN = [with_sink(inference) for inference in sample_inferences(EXPERIMENT)]
MEASURED = {inference.inference: sample_fidelity(inference) for inference in DRAWN}


def store(folder: Path, found: Callable[[Inference], dict[str, Fidelity] | None], built: int = 0) -> Reader:
    write_sample(folder, EXPERIMENT, DRAWN, built)
    with open_writer(folder, EXPERIMENT) as writer:
        for inference in writer.unmeasured():
            if figures := found(inference):
                writer.fidelity.put(inference, figures)
        writer.build()
    return open_reader(folder, EXPERIMENT.name)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with store(tmp_path_factory.mktemp("cache"), lambda inference: MEASURED[inference.inference]) as opened:
        yield opened


class Plain:
    """Sums over positions one by one: those whose own segment is in scope, position 0 aside, which nothing predicts."""

    def __init__(self, hookpoint: str, scope: Scope, inference: int | None) -> None:
        chosen = [one for one in DRAWN if inference in (None, one.inference)]
        self.norms: list[float] = []
        self.sums = [0.0, 0.0, 0.0, 0.0]
        self.predictions, self.inferences = 0, 0
        for one in chosen:
            before = self.predictions
            for position, segment in enumerate(one.segments):
                if segment not in SEGMENTS_OF[scope]:
                    continue
                self.norms.append(math.sqrt(one.encodings[hookpoint].squared_norm[position]))
                if position > 0:
                    figures = MEASURED[one.inference][hookpoint]
                    self.predictions += 1
                    for index, values in enumerate(figures):
                        self.sums[index] += float(values[position])
            self.inferences += self.predictions > before
        every = [math.sqrt(norm) for one in DRAWN for norm in one.encodings[hookpoint].squared_norm]
        self.sinks = sum(norm > 10 * median(every) for norm in self.norms)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("inference", [None, 0, 5])
def test_every_figure(reader: Reader, scope: Scope, inference: int | None) -> None:
    table = passport(reader, scope, inference=inference)
    assert list(table.columns) == list(COLUMNS) and table["hookpoint"].tolist() == list(HOOKPOINTS)
    stored = queries.quality(reader, scope, inference)
    for number, row in enumerate(table.to_dict("records")):
        plain = Plain(str(row["hookpoint"]), scope, inference)
        assert row["scope"] == scope and row["positions"] == len(plain.norms)
        for ours, theirs in (("fvu", "fvu"), ("l0", "l0"), ("dead", "dead_share")):
            # two queries: DuckDB adds the same numbers in another order each time
            assert row[ours] == pytest.approx(stored[theirs][number], rel=1e-12, nan_ok=True)
        assert (row["predictions"], row["inferences"]) == (plain.predictions, plain.inferences)
        assert row["sinks"] == plain.sinks
        if not plain.norms:
            assert np.isnan([row["loss_recovered"], row["kl"], row["median_norm"], row["ce_zero"]]).all()
            continue
        assert row["mean_norm"] == pytest.approx(sum(plain.norms) / len(plain.norms))
        assert row["median_norm"] == pytest.approx(median(plain.norms))
        assert row["max_norm"] == pytest.approx(max(plain.norms))
        model, spliced, zero, kl = (total / plain.predictions for total in plain.sums)
        assert (row["ce_model"], row["ce_spliced"], row["ce_zero"]) == pytest.approx((-model, -spliced, -zero))
        assert row["kl"] == pytest.approx(kl)
        assert row["loss_recovered"] == pytest.approx((spliced - zero) / (model - zero))
        if inference is None:
            assert row["low"] <= row["loss_recovered"] <= row["high"]
        else:
            assert np.isnan(row["low"]) and np.isnan(row["high"]), "one inference has no interval"


def test_sinks_are_in_the_prompt_here(reader: Reader) -> None:
    by_scope = {scope: int(passport(reader, scope)["sinks"].sum()) for scope in SCOPES}
    assert by_scope["prompt"] == by_scope["all"] > 0 == by_scope["generated"]
    table = queries.sinks(reader, H)
    assert list(table.columns) == ["inference", "position", "token_id", "text", "segment", "norm", "times", "of"]
    assert set(table["position"]) == {0} and len(table) == table["of"].iloc[0] <= len(DRAWN)
    assert table["norm"].is_monotonic_decreasing and (table["times"] > 10).all()
    for row in table.to_dict("records"):
        assert row["text"] == DRAWN[row["inference"]].texts[row["position"]]
    assert len(queries.sinks(reader, H, 2)) == 2


@pytest.mark.parametrize("scope", SCOPES)
def test_by_inference_is_one_inference_each(reader: Reader, scope: Scope) -> None:
    table = passport_by_inference(reader, H, scope)
    expected = [one.inference for one in DRAWN if Plain(H, scope, one.inference).norms]
    assert table["inference"].tolist() == expected
    for row in table.to_dict("records"):
        [alone] = passport(reader, scope, H, int(row["inference"])).to_dict("records")
        for name in ("positions", "fvu", "loss_recovered", "kl", "predictions", "ce_model", "ce_spliced", "ce_zero"):
            assert row[name] == pytest.approx(alone[name], nan_ok=True), name


def test_norms(reader: Reader) -> None:
    first = queries.first_norms(reader, H, 2)
    for row in first.to_dict("records"):
        there = [math.sqrt(one.encodings[H].squared_norm[int(row["position"])]) for one in DRAWN]
        assert (row["median_norm"], row["max_norm"]) == pytest.approx((median(there), max(there)))
    for scope in SCOPES:
        bins = queries.norm_histogram(reader, H, scope)
        plain = Plain(H, scope, None)
        assert bins["count"].sum() == len(plain.norms)
        assert bins["high"].iloc[-1] == pytest.approx(max(plain.norms))


def changed(**figures: Callable[[Fidelity], np.ndarray]) -> Callable[[Inference], dict[str, Fidelity]]:
    def of(inference: Inference) -> dict[str, Fidelity]:
        found = MEASURED[inference.inference]
        return {name: each._replace(**{at: put(each) for at, put in figures.items()}) for name, each in found.items()}

    return of


def test_the_ends_of_the_scale(tmp_path: Path) -> None:
    perfect = changed(spliced_logprob=lambda own: own.logprob, kl=lambda own: 0 * own.kl)
    with store(tmp_path / "perfect", perfect) as reader:
        table = passport(reader)
        assert table[["loss_recovered", "low", "high"]].eq(1).all(axis=None) and table["kl"].eq(0).all()
    with store(tmp_path / "empty", changed(spliced_logprob=lambda own: own.zeroed_logprob)) as reader:
        assert passport(reader)[["loss_recovered", "low", "high"]].eq(0).all(axis=None)
    with store(tmp_path / "idle", changed(zeroed_logprob=lambda own: own.logprob)) as reader:
        table = passport(reader)
        assert table[["loss_recovered", "low", "high"]].isna().all(axis=None), "nothing is lost, nothing recovered"
        assert table["kl"].notna().all()
        assert passport_by_inference(reader, H)["loss_recovered"].isna().all()


def test_what_is_not_measured_is_null(tmp_path: Path) -> None:
    def some(inference: Inference) -> dict[str, Fidelity] | None:
        return MEASURED[inference.inference] if inference.inference < 4 else None

    with store(tmp_path, some, built=3) as reader:
        table = passport(reader)
        assert table["inferences"].tolist() == [4, 4, 4] and table["low"].isna().all() and table["fvu"].notna().all()
        beyond = passport(reader, inference=7)
        assert beyond[["loss_recovered", "kl", "ce_model"]].isna().all(axis=None) and beyond["fvu"].notna().all()
        assert passport_by_inference(reader, H)["predictions"].tolist()[4:] == [0] * 8


def test_the_interval_covers_what_it_should(tmp_path: Path) -> None:
    """Of inferences that are all alike it is a point; it is the same each time."""
    alike = {name: np.float32(value) for name, value in zip(Fidelity._fields, (-1, -1.2, -3, 0.1), strict=True)}

    def same(inference: Inference) -> dict[str, Fidelity]:
        ones = np.ones(len(inference.token_ids), np.float32)
        ones[0] = np.nan
        return {name: Fidelity(**{at: value * ones for at, value in alike.items()}) for name in inference.encodings}

    with store(tmp_path, same) as reader:
        table = passport(reader)
        for column in ("loss_recovered", "low", "high"):
            assert table[column].tolist() == pytest.approx([0.9] * 3)
        assert passport(reader).equals(table)


def test_bad_input(reader: Reader) -> None:
    for ask in (
        lambda: passport(reader, hookpoint="layers.9.mlp"),
        lambda: passport(reader, "thin"),  # type: ignore[arg-type]
        lambda: passport_by_inference(reader, "layers.9.mlp"),
        lambda: queries.sinks(reader, "x"),
        lambda: queries.norm_histogram(reader, "x"),
        lambda: queries.first_norms(reader, "x"),
    ):
        with pytest.raises(UnknownName):
            ask()
    with pytest.raises(OutOfRange):
        passport(reader, inference=12)
    with pytest.raises(BadValue):
        queries.sinks(reader, H, 0)
