"""`reproduce`: do the article's figures come out again?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import pandas as pd

from kthink_core.arguments import add_cache, add_weights, cache_of, config_with, experiment_name, whole_number
from kthink_core.config import BATCH_SIZE, Device
from kthink_core.listing import write_table
from kthink_core.reproduction.published import ARTICLE, read_published


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    add_cache(parser)
    add_weights(parser)
    parser.add_argument("--problems", metavar="P", help="gsm8k, or its training split as a JSONL file")
    parser.add_argument("--figures", type=Path, default=ARTICLE, metavar="FILE", help="others than the article's")
    parser.add_argument("--experiment", type=experiment_name, metavar="NAME", help="its name in the cache")
    parser.add_argument("--batch-size", type=whole_number, default=BATCH_SIZE, metavar="B")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what holds; 1 where a figure that sampling does not touch fails."""
    from kthink_core.precompute.pipeline import plan, precompute
    from kthink_core.precompute.progress import TerminalProgress
    from kthink_core.reproduction.count_figures import count_figures
    from kthink_core.reproduction.prompt_figures import prompt_figures
    from kthink_core.store.reader import open_reader

    published = read_published(options.figures)
    name, cache = options.experiment or published.experiment, cache_of(options)
    progress = TerminalProgress()
    ready = plan(name, config_with(published.config, options), options.device, progress)
    print(f"source: {published.source}\n\nwithout sampling, at {published.hookpoint}, site {published.config.site}:")
    fixed = prompt_figures(published, ready.lm, ready.saes.by_hookpoint[published.hookpoint])
    write_table(fixed, "table", sys.stdout)
    held = fixed["holds"].tolist().count(True)
    print(f"{held} of {len(fixed)} hold", flush=True)  # the rest takes a while
    try:
        precompute(ready, cache, options.batch_size, progress, site_is_chosen=True)
    finally:
        progress.close()
    with open_reader(cache, name) as reader:
        counted = count_figures(published, reader)
    print("\nrelevant in so many inferences, with the share that each count speaks for (95 %, Clopper-Pearson):")
    write_table(_in_words(counted), "table", sys.stdout)
    return 0 if held == len(fixed) else 1


def _in_words(counted: pd.DataFrame) -> pd.DataFrame:
    def sides(count: str, of: str, low: str, high: str) -> list[str]:
        return [f"{row[count]} of {row[of]} ({row[low]:.0%} to {row[high]:.0%})" for row in counted.to_dict("records")]

    return pd.DataFrame(
        {
            "hookpoint": counted["hookpoint"],
            "feature": counted["feature"],
            "published": sides("published", "of", "low", "high"),
            "found": sides("found", "found_of", "found_low", "found_high"),
            "p": counted["p"].round(4),
            "q": counted["q"].round(4),
        }
    )
