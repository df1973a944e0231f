"""`audit`: at which site of its layer was each SAE trained?"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, get_args

import pandas as pd

from kthink_core.arguments import add_preset, add_problems, add_weights, config_of, whole_number
from kthink_core.config import Device
from kthink_core.listing import write_table

if TYPE_CHECKING:
    from kthink_core.model.sites import Audit

LIMIT, NEW_TOKENS = 8, 64
"""Of the traces, unless asked otherwise: some hundreds of positions, seconds on the demo."""

COLUMNS = ("hookpoint", "site", "module", "fvu", "ratio", "positions", "sinks", "named", "trained")


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    add_preset(parser)
    add_weights(parser)
    parser.add_argument(
        "--hookpoints", nargs="+", metavar="H", help="default: the preset's; all there are in a folder given as --sae"
    )
    add_problems(parser)
    length = f"of each trace; default: {NEW_TOKENS}"
    parser.add_argument("--max-new-tokens", type=whole_number, metavar="N", help=length)
    parser.add_argument("--seed", type=whole_number, metavar="S")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the FVU of each SAE at each site, and where it was trained."""
    from kthink_core.precompute.progress import TerminalProgress
    from kthink_core.precompute.site_audit import audit, hookpoints_of

    options.limit = LIMIT if options.limit is None else options.limit
    options.max_new_tokens = NEW_TOKENS if options.max_new_tokens is None else options.max_new_tokens
    if options.hookpoints is None and options.sae is not None:
        options.hookpoints = hookpoints_of(options.sae)
    audits = list(audit(config_of(options), options.device, TerminalProgress()))
    if options.format == "json":
        write_table(table(audits), "json", sys.stdout)
        return
    write_table(table(audits).round({"fvu": 3, "ratio": 2}), "table", sys.stdout)
    for each in audits:
        print(verdict(each))


def table(audits: list[Audit]) -> pd.DataFrame:
    """One row a hookpoint and site, the smallest FVU of a hookpoint first: COLUMNS.

    ratio: the FVU over that of the first row of its hookpoint; named: whether it is the site that the hookpoint names;
    trained: whether the SAE was trained there, null where that is undecided.
    """
    rows = [
        (
            audit.hookpoint, each.site, audit.modules[each.site], each.fvu, each.fvu / (audit.sites[0].fvu or math.nan),
            each.positions, each.sinks, each.site == audit.named,
            None if audit.trained is None else each.site == audit.trained,
        )
        for audit in audits
        for each in audit.sites
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"trained": "boolean"})


def verdict(audit: Audit) -> str:
    """In one line, where an SAE was trained and how clear that is."""
    others = audit.sites[1:]
    named = f"; clearly not at the {audit.named} that its name says" if audit.is_misnamed else ""
    if not audit.alike:
        return f"{audit.hookpoint}: undecided: at none of these sites it is better than a constant"
    if audit.trained is None:
        told = f"undecided: {' and '.join(audit.alike)} are alike"
        return f"{audit.hookpoint}: {told} (the next leaves {audit.clearness:.2f} times as much unexplained){named}"
    clear = f"{others[0].site}, the next, leaves {audit.clearness:.1f} times as much" if others else "there is no other"
    return f"{audit.hookpoint}: trained at: {audit.trained} ({clear}){named}"
