"""How a question becomes a prompt and an answer is graded, as options say; and what older experiments have."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from kthink_core import queries
from kthink_core.arguments import config_of
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadTemplate, BadValue, UnsupportedModel
from kthink_core.model.chat_template import frames
from kthink_core.model.language_model import LanguageModel, load_model
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import BYPASS, INSTRUCTION, Chat, is_correct
from kthink_core.store.reader import open_reader
from tests.worker_process import QUESTIONS

BEGIN = "<｜begin▁of▁sentence｜>"


def asked(**options: object) -> ExperimentConfig:
    return config_of(Namespace(preset="r1-distill-qwen-1.5b", **options))


def test_think_and_bypass_have_one_instruction_unless_asked_otherwise() -> None:
    assert asked().chat.think == asked(mode="bypass").chat.bypass == INSTRUCTION
    assert asked().chat.bypass == INSTRUCTION, "of prompts typed at a worker"
    for mode in ("think", "bypass"):
        chat = asked(mode=mode, instruction="Box it.").chat
        assert chat.think == chat.bypass == " Box it."
        chat = asked(mode=mode, instruction="none").chat
        assert (chat.think if mode == "think" else chat.bypass) == ""
    demo = config_of(Namespace(preset="demo", mode="bypass"))
    assert demo.chat.bypass == "", "the bundled model learned it without"


def test_what_older_versions_wrote_is_the_same_experiment() -> None:
    """Their bypass prompts have no instruction; nothing is written that says nothing."""
    plain = asked()
    assert not {"instruction", "system", "grade", "chat_template", "traces"} & set(json.loads(plain.model_dump_json()))
    assert asked(instruction=INSTRUCTION.strip()) == plain and asked(grade="number", system="none") == plain
    older = plain.model_copy(update={"mode": "bypass"})
    assert asked(mode="bypass", instruction="none") == older and older.chat.bypass == ""
    assert asked(mode="bypass") != older


def test_an_older_bypass_experiment_goes_on_as_it_began(
    tiny: Path, tiny_plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_plan.experiment.config.model_copy(update={"mode": "bypass", "max_new_tokens": 2})
    precompute(plan("older", config, "cpu", Silent()), tmp_path, 4, Silent())
    given = ["precompute", "--experiment", "older", "--cache", str(tmp_path), "--mode", "bypass", "--temperature", "1"]
    given += ["--model", config.model, "--sae", config.sae, "--problems", config.problems, "--max-new-tokens", "2"]
    given += ["--hookpoints", *config.hookpoints, "--limit", "32"]
    assert main(given) == 0, capsys.readouterr().err


def test_prompts_have_what_was_asked_and_answers_are_graded_so(tiny_plan: Plan, tmp_path: Path) -> None:
    options = {
        "instruction": " Box it.",
        "system": "You are terse.",
        "grade": "none",
        "max_new_tokens": 2,
        "samples": 2,
    }
    config = tiny_plan.experiment.config.model_copy(update=options)
    template = "{{bos_token}}{% for m in messages %}[{{m.role}}]{{m.content}}{% endfor %}[ai]"
    for name, changed in {
        "own": {},
        "given": {"chat_template": template},
        "none": {"chat_template": "none", "system": None},
    }.items():
        precompute(plan(name, config.model_copy(update=changed), "cpu", Silent()), tmp_path, 8, Silent())
    wanted = {
        "own": f"{BEGIN}You are terse.<｜User｜>{QUESTIONS[0]} Box it.<｜Assistant｜><think>\n",
        "given": f"{BEGIN}[system]You are terse.[user]{QUESTIONS[0]} Box it.[ai]",
        "none": f"{BEGIN}{QUESTIONS[0]} Box it.",
    }
    for name, prompt in wanted.items():
        with open_reader(tmp_path, name) as reader:
            table = queries.inferences(reader)
            assert table["prompt"].iloc[0] == prompt and table["correct"].isna().all()
            assert table["problem"].value_counts().tolist() == [2, 2, 2]


def test_answers_are_compared_as_asked() -> None:
    assert is_correct("1,000", "1000") and not is_correct("1,000", "1000", "text")
    assert is_correct("A b", "ab", "text") and is_correct("x", "y", "none") is None


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{{messages[-1].content}}", "leaves out what the system says"), ("none", "no system message")],
)
def test_templates_that_cannot_do_it(template: str, reason: str) -> None:
    with pytest.raises(BadTemplate, match=reason):
        frames(template, {}, Chat(system="You are terse."))


def test_a_model_without_a_template_takes_one(tiny: Path, tiny_lm: LanguageModel, tmp_path: Path) -> None:
    import shutil

    model = Path(shutil.copytree(tiny / "model", tmp_path / "model"))
    (model / "chat_template.jinja").unlink()
    with pytest.raises(UnsupportedModel, match="--chat-template"):
        load_model(str(model), None, torch.device("cpu"))
    found = load_model(str(model), None, torch.device("cpu"), chat=Chat(template="none"))
    assert found.frames["bypass"] == (BEGIN, BYPASS)
    with pytest.raises(BadValue, match="--chat-template"):
        config_of(Namespace(preset="demo", chat_template=str(tmp_path / "nowhere")))
    path = tmp_path / "own.jinja"
    path.write_text("{{messages[-1].content}}")
    assert config_of(Namespace(preset="demo", chat_template=str(path))).chat.template == "{{messages[-1].content}}"
