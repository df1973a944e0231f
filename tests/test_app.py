"""Every page, run without a browser: seeded, empty, in progress, with a bad link, with text that attacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_manifest
from tests.app_samples import HOOKPOINTS, PAYLOADS, SILENT, sample_experiment, write_experiment
from tests.app_visits import PAGES, ROOT, Open, texts, transcript, visiting


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments: finished, in progress, just begun, cut off with gaps between, at the residual site, unreadable."""
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("growing", 10), committed=range(3))
    write_experiment(folder, sample_experiment("begun", 4), committed=())
    write_experiment(folder, sample_experiment("gaps", 10), committed=(4, 9))
    write_experiment(folder, sample_experiment("residual", 2, site="residual"))
    write_experiment(folder, sample_experiment("damaged", 3))
    database = main_database(folder, "damaged")
    database.write_bytes(b"?" * 5000)
    write_experiment(folder, sample_experiment("flipped", 3))
    database = main_database(folder, "flipped")
    flip(database, ("tokens", "latents", "token_latents", "feature_inferences", "relevant_features"))
    (folder / "broken").mkdir()
    (folder / "broken" / "experiment.json").write_text("{")
    return folder


def main_database(folder: Path, name: str) -> Path:
    manifest, _ = read_manifest(Layout(folder / name))
    assert manifest.database is not None
    return folder / name / manifest.database.file


def flip(database: Path, tables: tuple[str, ...]) -> None:
    """Changes a bit in each block that only some tables use: the database opens, and fails once it is asked."""
    with duckdb.connect(database, read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        blocks = {
            name: {
                block
                for (block,) in connection.execute(
                    f"SELECT block_id FROM pragma_storage_info('{name}') WHERE block_id >= 0"
                ).fetchall()
            }
            for name in names
        }
    others = {block for name in names if name not in tables for block in blocks[name]}
    content = bytearray(database.read_bytes())
    harmed = {block for name in tables for block in blocks[name]} - others
    assert harmed
    for block in harmed:
        content[3 * 4096 + block * 262_144 + 500] ^= 1
    database.write_bytes(content)


def unescaped(markdown: str) -> str:
    """What is read of a text that was escaped for Markdown."""
    return markdown.replace("\\", "").replace("\u2060", "")


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_finished_experiment(visit: Open, page: str) -> None:
    app = visit(page)
    assert not app.error
    assert app.title


def test_the_overview_says_where_the_experiment_comes_from(visit: Open) -> None:
    app = visit("overview")
    said = texts(app)
    assert "capture site hookpoint" in said
    assert "temperature 0.6" in said
    table = app.dataframe[-1].value
    kinds = ["✓ right", "✗ wrong", "? ungraded", "✓ right", "… cut off", "? ungraded"]
    assert table["verdict"].tolist() == kinds


@pytest.mark.parametrize("page", [*PAGES, "live", "steer", "notes", "guide"])
def test_what_cannot_be_read_is_named_on_every_page_and_the_others_are_shown(visit: Open, page: str) -> None:
    app = visit(page)
    (fold,) = [expander for expander in app.sidebar.expander if expander.label == "1 experiment cannot be read"]
    said = unescaped(fold.caption[0].value)
    assert said.startswith("broken: ") and "it is no JSON" in said
    assert not app.error and "broken" not in app.sidebar.selectbox[0].options


def test_a_link_to_what_cannot_be_read_says_why(visit: Open) -> None:
    app = visit("overview", experiment="broken")
    assert any("Experiment 'broken' cannot be read" in unescaped(warning.value) for warning in app.warning)


@pytest.mark.parametrize("page", PAGES)
def test_a_cache_that_is_no_folder_is_one_line(visit: Open, page: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (error,) = visit(page, folder=tmp_path / "file").error
    assert unescaped(error.value) == f"Not a directory: {tmp_path}/file"


def test_the_residual_site_is_told_on_every_page(visit: Open) -> None:
    for page in PAGES:
        app = visit(page, experiment="residual")
        assert "this experiment feeds it the residual stream" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_cache_says_which_command_to_run(visit: Open, page: str, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        app = visit(page, folder=folder)
        assert "make run" in texts(app)
        assert "python -m kthink_core precompute --preset demo" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_experiment_that_has_just_begun(visit: Open, page: str) -> None:
    app = visit(page, experiment="begun")
    assert "No inference of this experiment is committed yet (0 of 4)" in texts(app)
    assert not app.warning


def test_an_experiment_in_progress_shows_what_there_is(visit: Open) -> None:
    app = visit("overview", experiment="growing")
    (bar,) = app.get("progress")
    assert "3 of 10" in bar.proto.text
    assert len(app.dataframe[-1].value) == 3
    assert len(transcript(visit("inference", experiment="growing", inference="2"))["texts"]) > 50


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "wrong",
    [
        {"experiment": "dem", "inference": "99", "hookpoint": "layers.9.mlp", "scope": "everything", "feature": "-5"},
        {"inference": "<b>", "feature": "one"},
    ],
)
def test_nonsense_in_the_link_is_told_and_the_nearest_shown(visit: Open, page: str, wrong: dict[str, str]) -> None:
    app = visit(page, **wrong)
    for parameter in wrong:
        assert any(parameter in warning.value for warning in app.warning)
    assert not app.error
    assert app.title


@pytest.mark.parametrize("page", [*PAGES, "live", "steer", "notes", "guide"])
def test_a_flipped_bit_ends_in_one_line_or_does_not_matter(visit: Open, page: str) -> None:
    app = visit(page, experiment="flipped")
    for error in app.error:
        assert "latents-0001.duckdb is damaged; run `precompute` again" in unescaped(error.value)
    assert len(app.error) == (page not in ("live", "steer", "notes"))


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_experiment_is_one_line_and_others_can_be_chosen(visit: Open, page: str) -> None:
    app = visit(page, experiment="damaged")
    (error,) = app.error
    assert "damaged" in error.value
    assert "\n" not in error.value
    app.sidebar.selectbox(key="choose_experiment").set_value("demo").run()
    assert not app.error
    assert app.title


def test_the_link_brings_back_the_view(visit: Open) -> None:
    app = visit("inference", experiment="demo", inference="3", hookpoint=HOOKPOINTS[1], scope="think", feature="12")
    assert app.title[0].value == "Inference 3"
    assert [box.value for box in app.sidebar.selectbox] == ["demo", HOOKPOINTS[1], "think"]
    assert [number.value for number in app.sidebar.number_input] == [3, 12]


def test_a_choice_goes_into_the_link(visit: Open) -> None:
    app = visit("inference", experiment="demo", inference="3", feature="12")
    app.sidebar.number_input(key="choose_feature").set_value(17).run()
    assert app.query_params["feature"] == "17"
    assert app.query_params["inference"] == "3"
    app.button(key="step_Next").click().run()
    assert app.title[0].value == "Inference 4"
    assert app.query_params["feature"] == "17"
    app.sidebar.selectbox(key="choose_hookpoint").set_value(HOOKPOINTS[0]).run()
    assert app.query_params["hookpoint"] == HOOKPOINTS[0]
    assert "feature" not in app.query_params
    app.sidebar.selectbox(key="choose_experiment").set_value("growing").run()
    assert app.query_params["experiment"] == "growing"
    assert app.title[0].value == "Inference 0"


def test_the_navigation_bar_keeps_the_view(visit: Open) -> None:
    app = visit("inference", experiment="demo", inference="3", feature="12")
    app.query_params.clear()
    app.switch_page("pages/feature.py").run()
    assert app.title[0].value == f"Feature 12 of {HOOKPOINTS[-1]}"
    assert app.query_params["inference"] == "3"


def test_a_feature_that_never_fires(visit: Open) -> None:
    app = visit("inference", feature=str(SILENT))
    assert transcript(app)["features"] == [SILENT]
    assert SILENT not in transcript(app)["tracks"]["features"]
    app = visit("feature", feature=str(SILENT))
    assert f"Feature {SILENT} never fires" in texts(app)


def test_a_scope_without_positions(visit: Open) -> None:
    """Inference 4 was cut off: it has no answer."""
    for page in PAGES:
        app = visit(page, inference="4", scope="answer")
        assert not app.error
        app = visit(page, experiment="gaps", scope="answer")
        assert not app.error
        assert "fires" in texts(app) or "No position is in scope answer" in texts(app)


def test_inferences_with_gaps_between(visit: Open) -> None:
    app = visit("inference", experiment="gaps", inference="6")
    assert app.title[0].value == "Inference 4"
    assert "showing 4" in app.warning[0].value
    app.button(key="step_Next").click().run()
    assert app.title[0].value == "Inference 9"
    assert app.button(key="step_Next").disabled


def test_hostile_text_arrives_as_text(visit: Open) -> None:
    app = visit("inference", inference="0")
    data = transcript(app)
    assert set(PAYLOADS) <= set(data["texts"])
    assert "<script>document.title='owned'</script>" in "".join(text.value for text in app.text)
    for markdown in app.markdown:
        assert "<script>" not in markdown.value


def test_no_page_imports_torch(cache: Path) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60)\n"
        f"for page in {PAGES}:\n"
        "    app.switch_page(f'pages/{page}.py').run()\n"
        "    assert app.title and not app.exception, page\n"
        "    assert not {'torch', 'transformers', 'sparsify'} & set(sys.modules), page"
    )
    environment = {"KTHINK_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
