"""`save-view`: a view of the app as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from kthink_core.arguments import add_cache, cache_of
from kthink_core.commands.telling import tell
from kthink_core.settings import Settings, from_environment


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("link", metavar="LINK", help="of a page inference, feature, across or compare, in quotes")
    parser.add_argument("target", type=Path, metavar="OUT.html")
    add_cache(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the file and print its name; what of the link does not exist is told on stderr."""
    from kthink_core.saved import save_view

    default = from_environment(Settings).experiment

    print(save_view(cache_of(options), default, options.link, options.target, tell))
