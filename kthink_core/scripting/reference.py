"""The reference of all queries, for the shell and for Python: `python -m kthink_core.scripting.reference` prints it."""

from __future__ import annotations

import inspect

from kthink_core.listing import QUERIES
from kthink_core.plain_queries import Query
from kthink_core.scripting.opened import OpenExperiment

_HEAD = """# Queries

Each is a query of the command line, `kthink query feature-table --experiment demo --hookpoint layers.6.mlp`, a
method in Python, `open_experiment("demo").feature_table("layers.6.mlp")`, where `_` stands for `-`, an endpoint of the
app, `GET /api/v1/experiments/demo/feature-table?hookpoint=layers.6.mlp`, and a tool of MCP, `feature_table`. The
command prints exactly the columns named below, in that order, as endpoint and tool answer them; the method's table may
have more, as its text says. In an address an option is spelled as on the command line, but for `vocabulary`, which is
given word by word: `vocabulary=wait&vocabulary=hmm`. Texts are the methods' documentation. Positions count from 0 at
the first token of the prompt, inferences from 0, ranks from 1.

This file is written by `python -m kthink_core.scripting.reference`.
"""


def reference() -> str:
    """Every query with its options, its signature, its columns and its documentation, in Markdown."""
    return "\n".join([_HEAD, *(_section(name, query) for name, query in QUERIES.items())])


def _section(name: str, query: Query) -> str:
    method = name.replace("-", "_")
    function = getattr(OpenExperiment, method)
    signature = inspect.signature(function)
    own = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()][1:]
    options = [f"`--{option}`" for option in query.needs] + [f"[`--{option}`]" for option in query.takes]
    lines = [
        f"## {name}\n",
        f"`{method}({', '.join(map(str, own))})`\n",
        f"Options: {' '.join(options) or 'none'}. Columns: {', '.join(f'`{column}`' for column in query.columns)}\n",
        f"{inspect.getdoc(function)}\n",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference(), end="")
