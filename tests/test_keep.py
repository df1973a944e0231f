"""Where a live inference goes that is kept."""

from __future__ import annotations

from pathlib import Path

from kthink_core import queries
from kthink_core.live.api import GenerateRequest, Kept
from kthink_core.records import Intervention
from kthink_core.store.manifest import read_experiment
from kthink_core.store.reader import open_reader
from kthink_core.worker.keep import keep
from tests.store_samples import sample_experiment, sample_inference, write_sample

REQUEST = GenerateRequest(prompt="Two?", temperature=0.7, top_p=0.9)


def test_what_a_worker_would_precompute_does_not_part_what_is_kept(tmp_path: Path) -> None:
    """Problems, how many of them, and their seed are no part of a prompt that somebody typed."""
    steering = (Intervention("layers.2.mlp", 1, "ablate"),)  # of the precompute; a live run is not steered
    makers = [{}, {"steering": steering}, {"limit": 5}, {"limit": None}, {"seed": 3}, {"problems": "gsm8k"}]
    for number, config in enumerate(makers):
        made_by = sample_experiment("any", 12, **config)
        facts = made_by.provenance | {"problems": f"sha256:{number}"}
        made_by = made_by.model_copy(update={"provenance": facts})
        inference = sample_inference(made_by, 6)  # one to which nothing was done
        assert keep(tmp_path, made_by, inference, REQUEST, "Ann") == Kept(experiment="live", inference=number)
    with open_reader(tmp_path, "live") as reader:
        assert reader.inference_ids == tuple(range(len(makers)))
        assert "problems" not in reader.experiment.provenance
        table = queries.inferences(reader)
    assert table["problem"].tolist() == list(range(len(makers)))
    assert set(table["author"]) == {"Ann"} and set(table["temperature"]) == {0.7} and set(table["top_p"]) == {0.9}
    assert set(table["max_new_tokens"]) == {400}


def test_what_shapes_an_answer_does(tmp_path: Path) -> None:
    """What was kept before stays where it is, and what comes from the same worker goes beside it."""
    found = []
    for config in [{}, {"site": "residual"}, {}, {"site": "residual"}]:
        made_by = sample_experiment("any", 12, **config)
        found.append(keep(tmp_path, made_by, sample_inference(made_by, 6), REQUEST, ""))
    assert [kept.inference for kept in found] == [0, 0, 1, 1]
    assert found[0].experiment == found[2].experiment == "live"
    assert found[1].experiment == found[3].experiment != "live"


def test_what_the_same_makers_made_goes_on_whatever_an_older_version_called_it(tmp_path: Path) -> None:
    made_by = {site: sample_experiment("any", 12, site=site) for site in ("hookpoint", "residual")}
    inference = sample_inference(made_by["residual"], 6)
    keep(tmp_path / "before", made_by["residual"], inference, REQUEST, "")
    before = read_experiment(tmp_path / "before", "live")
    assert before
    cache = tmp_path / "cache"
    write_sample(cache, before.model_copy(update={"name": "live-older"}), [inference])
    (cache / "live-broken").mkdir()
    (cache / "live-broken" / "experiment.json").write_text("{}")
    found = [keep(cache, made_by[site], inference, REQUEST, "") for site in ("hookpoint", "residual")]
    assert found == [Kept(experiment="live", inference=0), Kept(experiment="live-older", inference=7)]


def test_steered_runs_are_kept_apart(tmp_path: Path) -> None:
    """What features do when they are made to is no measure of what they do by themselves."""
    made_by = sample_experiment("any", 12)
    plain, steered = sample_inference(made_by, 6), sample_inference(made_by, 8)
    assert not plain.interventions and steered.interventions
    found = [keep(tmp_path, made_by, one, REQUEST, "") for one in (steered, plain, steered, plain)]
    assert [(kept.experiment, kept.inference) for kept in found] == [
        ("live-steered", 0), ("live", 0), ("live-steered", 1), ("live", 1),
    ]  # fmt: skip
    elsewhere = made_by.model_copy(update={"config": made_by.config.model_copy(update={"site": "residual"})})
    other = keep(tmp_path, elsewhere, steered, REQUEST, "")
    assert other.experiment.startswith("live-steered-") and other.inference == 0
    with open_reader(tmp_path, "live-steered") as reader:
        told = queries.interventions(reader, 1)
    assert told["feature"].tolist() == [done.feature for done in reversed(steered.interventions)]
