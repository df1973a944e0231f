"""A link is a view, a view is a link, and no link is too strange."""

from __future__ import annotations

from dataclasses import fields, replace
from string import ascii_letters, digits
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kthink_core.prompts import Mode
from kthink_core.records import ACTIONS, Intervention, Trigger
from kthink_core.steer_options import Asked
from kthink_core.store.scopes import SCOPES
from kthink_core.ui.view import list_link, pair_link
from kthink_core.ui.view.list_link import ListLink
from kthink_core.ui.view.live_link import MOST_PROMPT, Sent
from kthink_core.ui.view.pair_link import PAIRS, Pair
from kthink_core.ui.view.permalink import (
    BASES,
    CONTRASTS,
    FACETS,
    FOLDS,
    MODES,
    OUTCOMES,
    PASSPORTS,
    PLOTS,
    RANKINGS,
    SCALES,
    SECTIONS,
    SHADES,
    SORTS,
    STEPS,
    SWITCH,
    Bounds,
    View,
    format_view,
    parse,
    parse_experiment,
)
from kthink_core.ui.view.steer_link import Run

LATENTS = {"layers.2.self_attn": 50, "layers.2.mlp": 2048, "layers.4.mlp": 100}
BOUNDS = Bounds("demo", [*range(20), *range(22, 32)], LATENTS, ["other", "more"])
PARAMETERS = tuple(field.name for field in fields(View))


FINITE = some.floats(allow_nan=False, allow_infinity=False)
WHOLE = some.integers(-(10**18) + 1, 10**18 - 1)


@some.composite
def named(draw: some.DrawFn) -> tuple[str, int]:
    """A hookpoint and one of its features."""
    hookpoint = draw(some.sampled_from(list(BOUNDS.latents)))
    return hookpoint, draw(some.integers(0, BOUNDS.latents[hookpoint] - 1))


@some.composite
def asked(draw: some.DrawFn) -> Asked:
    action = draw(some.sampled_from(ACTIONS))
    value, scaled = (0.0, False) if action == "ablate" else (draw(FINITE), draw(some.booleans()))
    after = draw(some.none() | named().map(lambda pair: Trigger(*pair)))
    start = draw(some.integers(0, 10**9 - 1))
    return Asked(Intervention(*draw(named()), action, value, start, after), scaled)


def runs() -> some.SearchStrategy[Run]:
    modes = some.sampled_from(get_args(Mode))
    return some.builds(Run, modes, FINITE, FINITE, WHOLE, WHOLE, some.booleans(), some.booleans())


def sent() -> some.SearchStrategy[Sent]:
    hookpoints = some.lists(some.sampled_from(list(LATENTS)), unique=True).map(tuple)
    return some.builds(Sent, runs(), some.booleans(), hookpoints)


@some.composite
def pairs(draw: some.DrawFn) -> Pair:
    place = some.integers(0, 10**7 - 1)
    span = draw(some.none() | some.tuples(place, place).map(lambda ends: (min(ends), max(ends))))
    return Pair(draw(some.sampled_from(PAIRS)), span, draw(some.none() | place))


@some.composite
def views(draw: some.DrawFn) -> View:
    hookpoint = draw(some.sampled_from(list(BOUNDS.latents)))
    return View(
        experiment="demo",
        hookpoint=hookpoint,
        inference=draw(some.sampled_from(BOUNDS.inferences)),
        scope=draw(some.sampled_from(SCOPES)),
        feature=draw(some.none() | some.integers(0, BOUNDS.latents[hookpoint] - 1)),
        also=tuple(draw(some.lists(some.integers(0, BOUNDS.latents[hookpoint] - 1), max_size=4, unique=True))),
        watch=tuple(
            draw(
                some.dictionaries(
                    some.integers(0, BOUNDS.latents[hookpoint] - 1), some.floats(0, 1e9), min_size=0, max_size=5
                )
            ).items()
        ),
        span=draw(some.none() | some.tuples(*[some.integers(0, 30_000)] * 2).map(lambda ends: tuple(sorted(ends)))),
        position=draw(some.none() | some.integers(0, 30_000)),
        ranking=draw(some.sampled_from(RANKINGS)),
        sort=draw(some.sampled_from(SORTS)),
        outcome=draw(some.sampled_from(OUTCOMES)),
        mode=draw(some.sampled_from(MODES)),
        tag=draw(some.text(max_size=100)),
        search=draw(some.text(max_size=20)),
        between=draw(some.sampled_from(list(CONTRASTS))),
        word=draw(some.text(max_size=20)),
        relevant=draw(some.integers(1, 100)),
        list=draw(some.sampled_from([list_link.NONE, ListLink("0123456789ab"), ListLink("", hookpoint, (3, 1))])),
        against=draw(some.none() | some.sampled_from(BOUNDS.inferences)),
        other=draw(some.none() | some.sampled_from(BOUNDS.others)),
        plot=draw(some.sampled_from(PLOTS)),
        section=draw(some.sampled_from(SECTIONS)),
        pages=draw(some.integers(1, 10)),
        facet=draw(some.sampled_from(FACETS)),
        pair=draw(some.just(pair_link.NONE) | pairs()),
        passport=draw(some.sampled_from(PASSPORTS)),
        training=draw(some.from_regex(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})?", fullmatch=True)),
        basis=draw(some.sampled_from(BASES)),
        locked=draw(some.none() | some.integers(0, BOUNDS.latents[hookpoint] - 1)),
        shade=draw(some.sampled_from(SHADES)),
        grain=draw(some.sampled_from(STEPS)),
        sought=draw(some.none() | some.integers(0, BOUNDS.latents[hookpoint] - 1)),
        branch=tuple(draw(some.lists(some.integers(0, 10**9 - 1), max_size=2))),
        scale=draw(some.sampled_from(SCALES)),
        browse=draw(some.sampled_from(FOLDS)),
        words=draw(some.text(max_size=40)),
        window=draw(some.tuples(some.integers(0, 20), some.integers(0, 20))),
        alpha=draw(some.floats(0, 10)),
        steer=tuple(draw(some.lists(asked(), max_size=16))),
        run=draw(some.none() | runs()),
        prompt=draw(some.text(max_size=200)),
        sent=draw(some.none() | sent()),
        live=draw(some.just("") | some.binary(min_size=16, max_size=16).map(bytes.hex)),
        measure=draw(some.none() | some.sampled_from(["demo", *BOUNDS.others])),
        residual=draw(some.sampled_from(SWITCH)),
    )


def test_a_link_without_them_shades_by_the_trace_and_locks_nothing() -> None:
    view, problems = parse({"experiment": "demo", "inference": "3", "outcome": "cut", "against": "4"}, BOUNDS)
    assert (view.basis, view.locked, view.scale, view.outcome, problems) == ("trace", None, "shared", "cut", [])


@given(views())
def test_a_view_survives_the_link(view: View) -> None:
    assert parse(format_view(view), BOUNDS) == (view, [])
    assert parse_experiment(format_view(view), ["other", "demo"], "other") == ("demo", [])


@given(some.dictionaries(some.sampled_from(PARAMETERS), some.text() | some.integers().map(str)))
def test_junk_gives_a_valid_view_and_one_message_a_parameter(parameters: dict[str, str]) -> None:
    view, problems = parse(parameters, BOUNDS)
    assert parse(format_view(view), BOUNDS) == (view, [])
    assert len(problems) <= len(parameters)
    for message in problems:
        assert any(f"link's {parameter} " in message for parameter in parameters)
    for parameter, value in parameters.items():
        # What a link says is either shown, or reported.
        shown = format_view(view).get(parameter, str(getattr(View("", ""), parameter))) == value
        shown = shown or parameter in ("experiment", "search")
        named = any(f"link's {parameter} " in message for message in problems)
        equal = value.removeprefix("-").isdecimal() and int(value) == getattr(view, parameter)
        assert shown or named or equal


@pytest.mark.parametrize(
    ("parameter", "value", "field", "nearest"),
    [
        ("inference", "99", "inference", 31),
        ("inference", "-1", "inference", 0),
        ("inference", "21", "inference", 22),
        ("inference", "seven", "inference", 0),
        ("inference", "1_0", "inference", 0),
        ("feature", "100", "feature", 99),
        ("feature", "9" * 4000, "feature", None),
        ("feature", "0x10", "feature", None),
        ("hookpoint", "layers.4.mpl", "hookpoint", "layers.4.mlp"),
        ("hookpoint", "", "hookpoint", "layers.4.mlp"),
        ("also", "3.5.3.4.6.9.11", "also", (3, 5, 4, 6)),
        ("also", "3,5", "also", ()),
        ("watch", "3_1.5~7_0~3_2", "watch", ((3, 1.5), (7, 0.0))),
        ("watch", "3_-1~100_2~4_nan~5_inf~6~8_2_1~9_2", "watch", ((9, 2.0),)),
        ("watch", "1_1~2_1~3_1~4_1~5_1~6_1", "watch", ((1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0))),
        ("watch", "9" * 4000 + "_1", "watch", ()),
        ("span", "9.4", "span", None),
        ("span", "4", "span", None),
        ("relevant", "0", "relevant", 1),
        ("list", "doubt", "list", list_link.NONE),
        ("list", "0123456789ab~layers.4.mlp~7.100.7", "list", ListLink("0123456789ab", "layers.4.mlp", (7,))),
        ("other", "othr", "other", "other"),
        ("scope", "Think", "scope", "think"),
        ("scope", "<script>", "scope", "generated"),
        ("plot", "histogramm", "plot", "histogram"),
        ("section", "Company", "section", "company"),
        ("facet", "1", "facet", "problems"),
        ("browse", "true", "browse", "closed"),
        ("training", "../demo", "training", ""),
        ("training", "a" * 101, "training", ""),
        ("basis", "experiments", "basis", "experiment"),
        ("locked", "100", "locked", 99),
        ("locked", "none", "locked", None),
        ("scale", "both", "scale", "shared"),
        ("words", "x" * 1001, "words", ""),
        ("window", "1,2", "window", (1, 2)),
        ("window", "3.21", "window", (1, 2)),
        ("window", "9" * 4000 + ".1", "window", (1, 2)),
        ("alpha", "-1", "alpha", 0.7),
        ("alpha", "10.5", "alpha", 0.7),
        ("alpha", "nan", "alpha", 0.7),
        ("steer", "", "steer", ()),
        ("steer", "layers.4.mlp_100_ablate", "steer", ()),
        ("steer", "layers.3.mlp_1_ablate", "steer", ()),
        ("steer", "layers.4.mlp_1_clamp", "steer", ()),
        ("steer", "layers.4.mlp_1_clamp_nan", "steer", ()),
        ("steer", "layers.4.mlp_1_add_1e999", "steer", ()),
        ("steer", "layers.4.mlp_1_clamp_-1", "steer", ()),
        ("steer", "layers.4.mlp_1_ablate_2x", "steer", ()),
        ("steer", "layers.4.mlp_1_ablate_0_layers.2.mlp", "steer", ()),
        ("steer", "layers.4.mlp_1_ablate_0_layers.2.mlp_9_9", "steer", ()),
        ("steer", "<b>~layers.4.mlp_1_ablate_7", "steer", (Asked(Intervention("layers.4.mlp", 1, "ablate", 0, 7)),)),
        ("steer", "layers.4.mlp_1_ablate~" * 9000, "steer", (Asked(Intervention("layers.4.mlp", 1, "ablate")),) * 16),
        ("run", "", "run", None),
        ("run", "thinking_0.6_0.95_400_0", "run", None),
        ("run", "think_0.6_0.95_400", "run", None),
        ("run", "think_nan_0.95_400_0", "run", None),
        ("run", "think_1e999_0.95_400_0", "run", None),
        ("run", "think_0.6_0.95_400.0_0", "run", None),
        ("run", "think_0.6_0.95_400_0_special_bare", "run", None),
        ("residual", "yes", "residual", "off"),
        ("prompt", "x" * (MOST_PROMPT + 1), "prompt", ""),
        ("prompt", "é" * (MOST_PROMPT // 6 + 1), "prompt", ""),
        ("sent", "think_0.6_0.95_400_0~layers.3.mlp", "sent", None),
        ("sent", "think_0.6_0.95_400_encode", "sent", None),
        ("live", "../../" + "a" * 26, "live", ""),
        ("live", "a" * 33, "live", ""),
        ("measure", "mroe", "measure", "more"),
    ],
)
def test_nonsense_is_named_and_the_nearest_shown(parameter: str, value: str, field: str, nearest: object) -> None:
    view, problems = parse({parameter: value}, BOUNDS)
    assert getattr(view, field) == nearest
    (message,) = problems
    assert message.startswith(f"The link's {parameter} ")
    assert len(message) < 200


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_what_is_no_text_is_spelled_out(parameter: str) -> None:
    given = {parameter: "caf\udce9" * 30}
    view, problems = parse(given, BOUNDS)
    named, more = parse_experiment(given, ["demo"], "demo")
    for text in (*format_view(view).values(), *problems, *more, named):
        assert text.encode() and len(text) < (MOST_PROMPT if parameter == "prompt" else 200)
    assert view.search == ("caf\\udce9" * 30)[:60] if parameter == "search" else not view.search


def test_what_steers_is_written_so_that_chat_and_mail_leave_it_alone() -> None:
    after = Trigger("layers.2.self_attn", 7)
    steer = (
        Asked(Intervention("layers.4.mlp", 3, "clamp", 2.0), scaled=True),
        Asked(Intervention("layers.2.self_attn", 9, "add", -1e20, 5, after)),
        Asked(Intervention("layers.4.mlp", 5, "ablate")),
    )
    link = format_view(View("demo", "layers.4.mlp", steer=steer, run=Run("think", 0.6, 0.95, 400, 3, special=True)))
    assert link["steer"] == (
        "layers.4.mlp_3_clamp_2.0x~layers.2.self_attn_9_add_m1e20_5_layers.2.self_attn_7~layers.4.mlp_5_ablate"
    )
    assert link["run"] == "think_0.6_0.95_400_3_special"


@given(views())
def test_no_link_has_a_character_that_is_written_another_way(view: View) -> None:
    for parameter, text in format_view(view).items():
        if parameter not in ("search", "tag", "word", "words", "between", "prompt"):
            assert set(text) <= set(ascii_letters + digits + "._~-") and "--" not in text


def test_an_unknown_experiment_falls_to_the_nearest_else_the_default() -> None:
    names = ["first", "demo-2"]
    assert parse_experiment({"experiment": "demo2"}, names, "first")[0] == "demo-2"
    assert parse_experiment({"experiment": "?"}, names, "first")[0] == "first"
    assert parse_experiment({}, names, "gone") == ("first", [])


def test_another_experiment_is_told_where_there_is_no_other() -> None:
    view, (message,) = parse({"other": "gone"}, replace(BOUNDS, others=()))
    assert view.other is None and message.startswith("The link's other 'gone' does not exist")


def test_an_experiment_without_inferences_takes_any_link() -> None:
    view, problems = parse({"inference": "3"}, Bounds("demo", [], {"layers.2.mlp": 8}))
    assert view.inference == 0
    assert not problems
