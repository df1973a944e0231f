"""Steering as it is written on the command line: read, scaled, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.config import Site
from kthink_core.errors import BadValue
from kthink_core.records import Intervention, Trigger
from kthink_core.steer_options import (
    LARGEST,
    Asked,
    asked,
    check_interventions,
    check_steering,
    in_activations,
)

H = "layers.6.mlp"
NAMES = st.sampled_from(["layers.6.mlp", "layers.10", "h.3.mlp"])
FEATURES = st.integers(0, 10**6)
STRENGTHS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def written(one: Asked) -> str:
    """As it is read."""
    done = one.intervention
    strength = "" if done.action == "ablate" else f":{done.value!r}{'x' if one.scaled else ''}"
    begins = f"@{done.start}" if done.start else ""
    waits = f"@{done.after.hookpoint}:{done.after.feature}" if done.after else ""
    return f"{done.hookpoint}:{done.feature}={done.action}{strength}{begins}{waits}"


@st.composite
def wanted(draw: st.DrawFn) -> Asked:
    action = draw(st.sampled_from(["clamp", "add", "ablate"]))
    value = 0.0 if action == "ablate" else draw(STRENGTHS)
    after = draw(st.none() | st.builds(Trigger, NAMES, FEATURES))
    done = Intervention(draw(NAMES), draw(FEATURES), action, value, draw(st.integers(0, 999)), after)
    return Asked(done, action != "ablate" and draw(st.booleans()))


@given(wanted())
def test_what_is_written_is_read_as_it_was(one: Asked) -> None:
    assert asked(written(one)) == one


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("layers.6.mlp:767=clamp:12.5", Asked(Intervention(H, 767, "clamp", 12.5))),
        ("layers.6.mlp:767=clamp:2x@10", Asked(Intervention(H, 767, "clamp", 2.0, 10), True)),
        ("layers.6.mlp:767=add:-1.5e1", Asked(Intervention(H, 767, "add", -15.0))),
        ("layers.6.mlp:767=ablate@3", Asked(Intervention(H, 767, "ablate", 0.0, 3))),
        ("layers.6.mlp:767=ablate@layers.2:5", Asked(Intervention(H, 767, "ablate", after=Trigger("layers.2", 5)))),
    ],
)
def test_the_forms(text: str, one: Asked) -> None:
    assert asked(text) == one


@pytest.mark.parametrize(
    "text",
    ["", "767=ablate", f"{H}:767", f"{H}:-1=ablate", f"{H}:1=clamp:nan", f"{H}:1=clamp:inf", f"{H}:1=clamp:1e999",
     f"{H}:1=clamp", f"{H}:1=ablate:3", f"{H}:1=clamp:2y", f"{H}:1=ablate@-1", f"{H}:1=ablate@@3", f" {H}:1=ablate",
     f"{H}:1=clamp:2X", f"{H}:1=boost:2", f"{H}:1=ablate\n"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadValue, match="--steer"):
        asked(text)


@given(st.text(max_size=40))
def test_any_text_is_one_or_is_refused(text: str) -> None:
    try:
        one = asked(text)
    except BadValue as error:
        assert str(error).startswith("--steer")
    else:
        assert asked(written(one)) == one


def test_strengths_of_a_maximum() -> None:
    scaled, plain = asked(f"{H}:7=clamp:1.5x@4"), asked(f"{H}:8=add:3")
    found = in_activations([scaled, plain], lambda _, feature: {7: 4.0}.get(feature), "experiment 'demo'")
    assert found == (Intervention(H, 7, "clamp", 6.0, 4), Intervention(H, 8, "add", 3.0))
    for none in (None, 0.0):
        with pytest.raises(BadValue, match=r"feature 7 of layers\.6\.mlp never fires in experiment 'demo'"):
            in_activations([scaled], lambda *_, none=none: none, "experiment 'demo'")


@pytest.mark.parametrize(
    ("done", "site", "nevertheless", "refused"),
    [
        (Intervention(H, 1, "ablate", start=7), "hookpoint", False, ""),
        (Intervention(H, 1, "ablate", start=8), "hookpoint", False, "at most 8 are generated, the last is number 7"),
        (Intervention(H, 1, "ablate"), "residual", False, "--anyway does it nevertheless"),
        (Intervention(H, 1, "ablate"), "residual", True, ""),
        (Intervention("layers.6", 1, "ablate"), "residual", False, ""),
    ],
)
def test_what_acts_on_nothing_or_on_something_else(
    done: Intervention, site: Site, nevertheless: bool, refused: str
) -> None:
    if not refused:
        check_steering([done], 8, site, at_residual=nevertheless, flag="--anyway")
        return
    with pytest.raises(BadValue, match=refused):
        check_steering([done], 8, site, at_residual=nevertheless, flag="--anyway")


@pytest.mark.parametrize(
    ("done", "refused"),
    [
        ([Intervention(H, 1, "clamp", LARGEST), Intervention(H, 2, "add", -LARGEST)], ""),
        ([Intervention(H, 1, "clamp", 2.0), Intervention("layers.2", 1, "ablate")], ""),
        ([Intervention(H, 1, "clamp", float("nan"))], "steered by nan: at most 1e"),
        ([Intervention(H, 1, "add", float("-inf"))], "steered by -inf: at most 1e"),
        ([Intervention(H, 1, "add", 1.01 * LARGEST)], "numbers overflow"),
        ([Intervention(H, 1, "clamp", -0.5)], "clamped to -0.5: activations are never negative"),
        ([Intervention(H, 1, "ablate", 2.0)], "an ablated feature is 0; clamp it"),
        ([Intervention(H, 1, "ablate"), Intervention(H, 1, "add", 1.0)], "is steered twice"),
    ],
)
def test_what_makes_no_sense_whatever_the_model(done: list[Intervention], refused: str) -> None:
    if not refused:
        check_interventions(done)
        return
    with pytest.raises(BadValue, match=refused):
        check_interventions(done)
