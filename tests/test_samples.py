"""Several inferences of one problem: which inference is of which, with what seed, and what older files are to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from kthink_core.arguments import config_of
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadValue, ExperimentMismatch
from kthink_core.identity import check_same_config
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.store.completion import is_finished
from kthink_core.store.reader import open_reader


def test_the_first_inferences_are_those_of_one_sample(tiny_plan: Plan) -> None:
    config = tiny_plan.experiment.config
    more = plan("more", config.model_copy(update={"samples": 3, "seed": 5}), "cpu", Silent())
    problems = len(tiny_plan.prompts)
    assert [prompt.inference for prompt in more.prompts] == list(range(3 * problems)) and problems == 3
    assert [prompt.problem.problem for prompt in more.prompts] == 3 * list(range(problems))
    assert [prompt.seed for prompt in more.prompts] == list(range(5, 5 + 3 * problems)), "none twice"
    assert more.experiment.inferences == 3 * problems
    alone = plan("alone", config.model_copy(update={"seed": 5}), "cpu", Silent())
    assert alone.prompts == more.prompts[:problems]
    assert [prompt.inference for prompt in alone.prompts] == [0, 1, 2]


def test_samples_of_a_problem_differ_and_are_stored_with_it(tiny_plan: Plan, tmp_path: Path) -> None:
    config = tiny_plan.experiment.config.model_copy(update={"samples": 2, "max_new_tokens": 12})
    precompute(plan("twice", config, "cpu", Silent()), tmp_path, 4, Silent())
    precompute(plan("once", config.model_copy(update={"samples": 1}), "cpu", Silent()), tmp_path, 4, Silent())
    with open_reader(tmp_path, "twice") as reader, open_reader(tmp_path, "once") as once:
        assert reader.experiment.config.samples == 2
        table = reader.query("SELECT inference, problem, question, seed FROM inferences ORDER BY inference")
        assert table["problem"].tolist() == [0, 1, 2, 0, 1, 2] and table["question"].nunique() == 3
        texts = [reader.inference(inference).texts for inference in range(6)]
        assert [once.inference(inference).texts for inference in range(3)] == texts[:3]
        assert all(texts[problem] != texts[problem + 3] for problem in range(3))
    assert is_finished(tmp_path, "twice", config)
    with pytest.raises(ExperimentMismatch, match="samples: 2 stored, 1 asked"):
        is_finished(tmp_path, "twice", config.model_copy(update={"samples": 1}))


def test_what_has_no_such_setting_is_one_sample() -> None:
    """As versions before 0.6.0 wrote experiment.json; what they cannot read is written only where it says something."""
    config = ExperimentConfig()
    assert "samples" not in json.loads(config.model_dump_json())
    old = ExperimentConfig.model_validate_json(config.model_dump_json())
    assert old.samples == 1
    check_same_config("demo", old, config)
    many = ExperimentConfig(samples=4)
    assert ExperimentConfig.model_validate_json(many.model_dump_json()) == many
    with pytest.raises(ExperimentMismatch, match="samples"):
        check_same_config("demo", old, many)


@pytest.mark.parametrize("samples", [0, -1, 10**7])
def test_numbers_of_samples_that_make_no_sense(samples: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError):
        ExperimentConfig(samples=samples)
    assert main(["precompute", "--samples", str(samples)]) == 2
    assert "--samples" in capsys.readouterr().err


def test_more_inferences_than_an_experiment_has_are_refused(tiny_plan: Plan) -> None:
    config = tiny_plan.experiment.config.model_copy(update={"samples": 500_000})
    with pytest.raises(BadValue, match="--samples 500000 of 3 problems"):
        plan("many", config, "cpu", Silent())


def test_the_flag_is_read() -> None:
    from argparse import Namespace

    assert config_of(Namespace(preset="demo", samples=3)).samples == 3
    assert config_of(Namespace(preset="demo")).samples == 1
