"""Five hues that colour-blind readers can tell apart (Okabe and Ito), and shades of them under text in both themes.

Of the five-colour subsets of Okabe and Ito's palette this one keeps the largest distance in CIE L*a*b* between its
closest two, over normal sight and simulated protanopia, deuteranopia and tritanopia.
"""

from __future__ import annotations

from typing import NamedTuple

HUES = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#f0e442")
"""Orange, blue, green, pink, yellow: of the features shown at once, in their order."""
SIXTH = "#d55e00"
"""Vermilion: of a feature that is looked at for a moment, alone, beside five others."""
REST = "#9aa0a6"
"""Of everything that is not singled out."""

TEXT_CONTRAST = 5.0
"""Of text on a shade. WCAG 2 asks for 4.5; the rest is for the tint of the band that lies behind."""
LINE_CONTRAST = 2.2
"""Of an underline against the page: what orange has on white."""


class Theme(NamedTuple):
    """Streamlit's colours."""

    page: str
    text: str


LIGHT = Theme(page="#ffffff", text="#141311")
DARK = Theme(page="#171614", text="#edebe8")


def shade(hue: str, theme: Theme) -> str:
    """The most of a hue, mixed with the page, on which the theme's text can be read."""
    mixes = (_mix(hue, theme.page, percent / 100) for percent in range(100, -1, -1))
    return next(mix for mix in mixes if contrast(mix, theme.text) >= TEXT_CONTRAST)


def line(hue: str, theme: Theme) -> str:
    """The most of a hue, mixed with the text's colour, that stands out from the page."""
    mixes = (_mix(hue, theme.text, percent / 100) for percent in range(100, -1, -1))
    return next(mix for mix in mixes if contrast(mix, theme.page) >= LINE_CONTRAST)


def ink(hue: str, theme: Theme) -> str:
    """Black or white: what can be read on the hue's line."""
    return max("#000000", "#ffffff", key=lambda colour: contrast(colour, line(hue, theme)))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def stylesheet(selector: str) -> str:
    """The custom properties `--shade-N`, `--line-N` and `--ink-N` of both themes; the last N is the sixth hue."""
    properties = []
    for name, of in (("shade", shade), ("line", line), ("ink", ink)):
        for index, hue in enumerate((*HUES, SIXTH)):
            properties.append(f"--{name}-{index}: light-dark({of(hue, LIGHT)}, {of(hue, DARK)});")
    return f"{selector} {{\n  " + "\n  ".join(properties) + "\n}\n"


def _channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


def _mix(one: str, other: str, share: float) -> str:
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(255 * (share * left + (1 - share) * right)):02x}" for left, right in pairs)


def _luminance(colour: str) -> float:
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour))
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
