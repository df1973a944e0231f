"""Stored studies: what counts, whoever put it there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kthink_core.errors import BadFile
from kthink_core.store.causal_studies import ABLATION, AblationQuestion, AblationStudy, FeatureEffect, Traced
from kthink_core.store.files import Layout
from kthink_core.store.studies import list_studies, made_with, read_study, save_study, trace_digest
from tests.store_samples import HOOKPOINTS, sample_experiment

EXPERIMENT = sample_experiment("studied", 3)
HOOKPOINT = HOOKPOINTS[0]


def study(feature: int, **fields: object) -> AblationStudy:
    kl, change = (0.0, 0.0, 0.5), (0.0, 0.0, -1.0)
    made = AblationStudy(
        made=made_with(EXPERIMENT, [HOOKPOINT], "cpu", "float32"),
        trace=Traced(inference=0, digest=trace_digest([1, 2, 3]), prompt_tokens=1, tokens=3),
        question=AblationQuestion(hookpoint=HOOKPOINT, features=(feature,)),
        effects=(FeatureEffect(feature=feature, positions=(1,), activations=(2.0,), kl=kl, change=change),),
    )
    return made.model_copy(update=fields)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "studied")


def test_what_is_saved_is_read(layout: Layout) -> None:
    for feature in (1, 2):
        one = study(feature)
        path = save_study(layout, ABLATION, one.id, one)
        assert read_study(layout, EXPERIMENT, ABLATION, one.id, AblationStudy) == one
        os.utime(path, (feature, feature))
    stored = list_studies(layout, EXPERIMENT, ABLATION, AblationStudy)
    assert set(stored.found) == {study(1).id, study(2).id} and not stored.problems
    assert read_study(layout, EXPERIMENT, ABLATION, "0" * 12, AblationStudy) is None


def test_another_questions_answer_does_not_count(layout: Layout) -> None:
    """However it came under that name."""
    one, other = study(1), study(2)
    save_study(layout, ABLATION, other.id, one)
    with pytest.raises(BadFile, match="answers another question"):
        read_study(layout, EXPERIMENT, ABLATION, other.id, AblationStudy)
    stored = list_studies(layout, EXPERIMENT, ABLATION, AblationStudy)
    assert not stored.found and len(stored.problems) == 1


def test_another_makers_does_not_count(layout: Layout) -> None:
    one = study(1)
    elsewhere = one.model_copy(update={"made": one.made.model_copy(update={"model": "another"})})
    save_study(layout, ABLATION, elsewhere.id, elsewhere)
    with pytest.raises(BadFile, match="another model"):
        read_study(layout, EXPERIMENT, ABLATION, elsewhere.id, AblationStudy)


@pytest.mark.parametrize("value", [1e308, -1e308, 1e31])
def test_figures_whose_sum_overflows_do_not_count(layout: Layout, value: float) -> None:
    one = study(1)
    path = save_study(layout, ABLATION, one.id, one)
    document = json.loads(path.read_text())
    document["effects"][0]["kl"][1:] = [value, value]
    path.write_text(json.dumps(document))
    with pytest.raises(BadFile, match="kl"):
        read_study(layout, EXPERIMENT, ABLATION, one.id, AblationStudy)


@pytest.mark.parametrize("id", ["../../../etc/x", "0" * 11, "ABCDEF012345", "", "0" * 12 + "\n"])
def test_names_that_are_none(layout: Layout, id: str) -> None:
    with pytest.raises(BadFile, match="twelve hexadecimal digits"):
        save_study(layout, ABLATION, id, study(1))


def test_no_link_is_followed(layout: Layout, tmp_path: Path) -> None:
    one = study(1)
    path = save_study(layout, ABLATION, one.id, one)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BadFile, match="it is a link"):
        read_study(layout, EXPERIMENT, ABLATION, one.id, AblationStudy)
