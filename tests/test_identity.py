"""What counts as made by the same: every part of it, compared in one place."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from kthink_core.config import Experiment
from kthink_core.errors import ExperimentMismatch
from kthink_core.identity import check_same, maker, sae_revision, same_features, same_makers, source
from kthink_core.live.api import Health
from kthink_core.revisions import Revisions
from tests.store_samples import HOOKPOINTS, sample_experiment

AT, OTHER = HOOKPOINTS[0], HOOKPOINTS[1]
REVISIONS = Revisions(model="m1", sae="sha256:all", saes={AT: "sha256:one"})
HERE = sample_experiment("demo", 2, model="org/model", sae="org/saes").model_copy(update={"revisions": REVISIONS})
HEALTH: dict[str, Any] = {
    "status": "ready", "model": "org/model", "model_revision": "m1", "sae": "org/saes", "site": "hookpoint",
    "sae_revisions": {AT: "sha256:one", OTHER: "sha256:all"}, "hookpoints": dict.fromkeys(HOOKPOINTS, 40), "queue": 0,
    "running": False, "background": "nothing", "uptime": 1.0,
}  # fmt: skip


def changed(**facts: object) -> Experiment:
    """`HERE` with other revisions, configuration or SAEs."""
    revisions = {name: value for name, value in facts.items() if name in ("model", "sae", "saes_at")}
    config = {name: value for name, value in facts.items() if name not in revisions}
    named = REVISIONS.model_dump() | {name.replace("saes_at", "saes"): value for name, value in revisions.items()}
    return HERE.model_copy(update={"revisions": Revisions(**named), "config": HERE.config.model_copy(update=config)})


def test_a_worker_is_known_by_revisions_and_site() -> None:
    health = Health(**HEALTH)
    for hookpoint in HOOKPOINTS[:2]:
        assert maker(HERE, hookpoint) == health.maker(hookpoint) is not None
    assert maker(HERE, "layers.99.mlp") is None is health.maker("layers.99.mlp")
    for other in (
        {"model": "org/another"}, {"model_revision": "m2"}, {"model_revision": None}, {"site": "residual"},
        {"sae_revisions": {AT: "sha256:two"}}, {"sae_revisions": {}},
    ):  # fmt: skip
        assert Health(**HEALTH | other).maker(AT) != maker(HERE, AT), other
    assert Health(**HEALTH | {"sae": "/copied/elsewhere"}).maker(AT) == maker(HERE, AT), "the digest tells the files"


@pytest.mark.parametrize(
    ("other", "features", "makers"),
    [
        ({}, True, True),
        ({"model": "m2"}, True, False),
        ({"sae": "sha256:more"}, True, False),
        ({"sae": "sha256:more", "saes_at": {AT: "sha256:two"}}, False, False),
        ({"site": "residual"}, True, False),
        ({"temperature": 0.1}, True, False),
        ({"seed": 3}, True, False),
    ],
)
def test_experiments(other: dict[str, Any], features: bool, makers: bool) -> None:
    there = changed(**other)
    assert same_features(HERE, there, AT) is features
    assert same_makers(HERE, there) is makers
    if makers:
        check_same(HERE, there)
    else:
        with pytest.raises(ExperimentMismatch, match="exists with another configuration"):
            check_same(HERE, there)


def test_another_number_or_other_problems_is_another_experiment() -> None:
    check_same(HERE, HERE.model_copy(update={"provenance": HERE.provenance | {"created": "later"}}))
    for other in ({"inferences": 3}, {"provenance": HERE.provenance | {"problems": "sha256:x"}}):
        with pytest.raises(ExperimentMismatch, match=next(iter(other)).replace("provenance", "problems")):
            check_same(HERE, HERE.model_copy(update=other))


def test_what_is_typed_is_not_one_of_the_problems() -> None:
    """Kept inferences stand in experiments that bear the problems of whoever kept the first."""
    typed = HERE.model_copy(update={"inferences": 0, "open_ended": True})
    for one, other in (("sha256:x", "sha256:y"), ("sha256:x", None)):
        facts = [typed.provenance | ({"problems": problems} if problems else {}) for problems in (one, other)]
        check_same(*(typed.model_copy(update={"provenance": provenance}) for provenance in facts))


def test_a_commit_needs_its_repository_and_a_digest_does_not() -> None:
    assert source("org/one", "abc") != source("org/two", "abc")
    assert source("org/one", "sha256:abc") == source("/a/folder", "sha256:abc")
    assert source("org/one", None) == source("org/one", "") != source("org/two", None)


def test_the_revision_of_an_sae_is_its_own_where_that_is_known() -> None:
    assert (sae_revision(HERE, AT), sae_revision(HERE, OTHER)) == ("sha256:one", "sha256:all")
    assert sae_revision(sample_experiment("demo", 1), AT) == ""
    assert sae_revision(sample_experiment("demo", 1, sae_revision="main"), AT) == "main"


def test_an_older_file_has_its_revisions_in_the_provenance_and_keeps_its_mark() -> None:
    """As versions 1 and 2 of the journal wrote it; the mark is what all its files bear."""
    facts = {"created": "then", "model_revision": "m1", "sae_revision": "sha256:all",
             f"sae_revision {AT}": "sha256:one"}  # fmt: skip
    old = HERE.model_dump(mode="json") | {"provenance": facts, "schema_version": 2}
    del old["revisions"]
    found = Experiment.model_validate(old)
    assert found.revisions == REVISIONS and found.provenance == {"created": "then"} and found.facts == facts
    shapes = {hookpoint: shape.model_dump() for hookpoint, shape in HERE.saes.items()}
    told = json.dumps(["demo", shapes, facts], sort_keys=True)
    assert found.mark == hashlib.sha256(told.encode()).hexdigest()[:16]
    again = Experiment.model_validate_json(found.model_dump_json())
    assert (again.mark, again.facts) == (found.mark, facts)


def test_a_revision_that_nobody_asked_for_is_told_as_it_was_found() -> None:
    found = Revisions(model="m1", sae="sha256:all", saes={"layers.1.mlp": "s1"})
    assert found.found({"model": "demo", "model_revision": None, "sae_revision": "main"}) == {"model_revision": "m1"}
    assert found.found({"sae": "of somebody"}) == {}
