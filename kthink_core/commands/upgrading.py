"""`migrate`: what older versions left in the cache is brought up to date, a backup first."""

from __future__ import annotations

import argparse

from kthink_core.arguments import add_cache, cache_of
from kthink_core.errors import BadValue


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    add_cache(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Migrate, a line for each thing found and done."""
    from kthink_core.travel.migration import migrate

    made = migrate(cache_of(options), print)
    if made.failed:
        raise BadValue(f"not all is up to date: {', '.join(made.failed)} left as it was; see above")
    if made.backup is None:
        print("all is up to date")
    else:
        print(f"up to date; once you are content, remove {made.backup}")
