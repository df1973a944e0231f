"""One of the article's plots on a page: what it draws, what a click on a feature does, what downloads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from kthink_core.store.scopes import Scope
from kthink_core.ui.inference import inference_charts
from kthink_core.ui.parts import charts, clicks, download, feature_names, header
from kthink_core.ui.view.page import Page


def draw(
    page: Page,
    name: str,
    table: pd.DataFrame,
    shown: Sequence[int],
    choose: Callable[[int], None],
    *,
    of: str,
    scope: Scope,
) -> None:
    """Draw one of `inference_charts.BY_NAME`; `of` says of which inference, and tells it from others; `scope`,
    which of its positions count.

    A click on a feature's mark calls `choose` with the feature.
    """
    if table.empty:
        header.nothing("None of the features shown fires in this scope.")
        return
    named = {*shown, *table["feature"].tolist()} if "feature" in table else ()
    names = feature_names.names(page, page.view.hookpoint, named)
    drawn = inference_charts.BY_NAME[name](table, shown, names)
    if "feature" in table:
        key = f"{name} {of} {page.view.hookpoint} {scope}"
        clicks.chart(drawn, ("feature",), key, lambda mark: choose(mark["feature"]), described=name)
    else:
        charts.draw(drawn, name)
    download.buttons(page, f"{name} of {of}", table, chart=True, scope=scope)
