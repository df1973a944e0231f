"""Every figure that has help has a definition; the guided reading leads to views that exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

from kthink_core.config import SaeShape
from kthink_core.errors import UnknownName
from kthink_core.ui import guided_reading
from kthink_core.ui.parts import terms
from kthink_core.ui.parts.terms import TERMS
from kthink_core.ui.view.permalink import Bounds, parse
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.app_visits import Open, payloads, texts, visiting

ROOT = Path(__file__).resolve().parent.parent
CODE = [*sorted((ROOT / "pages").glob("*.py")), *sorted((ROOT / "kthink_core" / "ui").rglob("*.py"))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bundled` has features of the demo's numbers, `pasted` reads other texts with them, `bypassed` has no thoughts,
    `told` was asked otherwise, `other` has none; `begun` has no inference yet."""
    folder = tmp_path_factory.mktemp("cache")
    hookpoints = (*HOOKPOINTS, guided_reading.HOOKPOINT)
    shape = SaeShape(num_latents=2048, k=8, d_in=16, activation="topk")
    bundled = sample_experiment("bundled", 4, hookpoints=hookpoints)
    write_experiment(folder, bundled.model_copy(update={"saes": dict.fromkeys(hookpoints, shape)}))
    for name, config in (
        ("pasted", {"traces": "own.jsonl", "problems": "own.jsonl"}),
        ("bypassed", {"mode": "bypass"}),
        ("told", {"system": "Be brief."}),
    ):
        made = sample_experiment(name, 3, hookpoints=hookpoints, **config)
        write_experiment(folder, made.model_copy(update={"saes": dict.fromkeys(hookpoints, shape)}))
    write_experiment(folder, sample_experiment("other", 3, sae="org/saes"))
    write_experiment(folder, sample_experiment("begun", 3), committed=())
    return folder


@pytest.fixture
def open_page(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def steps(app: AppTest) -> list[tuple[str, dict[str, str]]]:
    """Page and parameters of each link of the guided reading."""
    links = [element.proto for element in app.get("page_link")]
    return [(proto.page, dict(parse_qsl(proto.query_string))) for proto in links]


def test_every_help_names_a_term() -> None:
    asked = {
        node.args[0].value
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "help"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "terms"
        and isinstance(node.args[0], ast.Constant)
    }
    assert asked
    assert asked <= TERMS.keys()


def test_help_is_the_definition_with_its_formula() -> None:
    for name, term in TERMS.items():
        assert terms.help(name).startswith(term.words)
        assert terms.help(name).count("$$") == (2 if term.formula else 0)
        assert term.formula.count("{") == term.formula.count("}")
    with pytest.raises(UnknownName, match="did you mean 'lift'"):
        terms.help("lifts")


def test_the_page_defines_every_term(open_page: Open) -> None:
    said = texts(open_page("guide", experiment="other"))
    for term in TERMS.values():
        assert f"**{term.title}**" in said
        assert term.words in said
        assert term.formula in said


@pytest.mark.parametrize(
    ("experiment", "hookpoint"),
    [
        *((name, guided_reading.HOOKPOINT) for name in ("bundled", "pasted", "bypassed", "told")),
        ("other", HOOKPOINTS[-1]),
    ],
)
def test_the_five_steps_lead_to_valid_views(open_page: Open, experiment: str, hookpoint: str) -> None:
    links = steps(open_page("guide", experiment=experiment, scope="think", search="x"))
    assert [page for page, _ in links] == ["across", "feature", "inference", "feature", "inference"]
    latents = {guided_reading.HOOKPOINT: 2048} | dict.fromkeys(HOOKPOINTS, 64)
    for _, parameters in links:
        view, problems = parse(parameters, Bounds(experiment, range(3), latents))
        assert not problems
        assert (view.experiment, view.hookpoint, view.search) == (experiment, hookpoint, "")
    last = links[-1][1]
    assert len({last["feature"], *last["also"].split(".")}) == 5
    if experiment == "bundled":
        assert {int(last["feature"]), *map(int, last["also"].split("."))} == set(guided_reading.THINKING)
        assert links[3][1]["section"] == "phase"
    else:
        assert int(last["feature"]) not in guided_reading.THINKING


def test_the_reading_greets_a_first_visit_and_none_of_a_browser_that_dismissed_it(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookies: dict[str, str] = {"another": "dismissed"}
    monkeypatch.setattr(ContextProxy, "cookies", cookies)
    app = open_page("overview", experiment="bundled")
    assert "Find a feature of thinking words" in texts(app)
    assert len(steps(app)) == 5
    (button,) = payloads(app, "cookie")
    cookies[button["cookie"]] = "dismissed"
    app = open_page("overview", experiment="bundled")
    assert "Find a feature of thinking words" not in texts(app)
    assert not payloads(app, "cookie")
    app.switch_page("pages/guide.py").run()
    assert "Find a feature of thinking words" in texts(app)
    app.switch_page("pages/overview.py").run()
    assert "Find a feature of thinking words" not in texts(app)


def test_where_there_is_nothing_to_read_there_are_definitions(open_page: Open, tmp_path: Path) -> None:
    app = open_page("guide", experiment="begun")
    assert not steps(app)
    assert "What the figures mean" in texts(app)
    assert "Find a feature of thinking words" not in texts(open_page("overview", experiment="begun"))
    assert "make run" in texts(open_page("guide", folder=tmp_path))


def test_nonsense_in_the_link_is_told(open_page: Open) -> None:
    app = open_page("guide", experiment="bundle", scope="everything", feature="<b>")
    assert len(app.warning) == 3
    for name, warning in zip(("experiment", "scope", "feature"), app.warning, strict=True):
        assert name in warning.value
    assert app.title[0].value == "Guide"
