"""Fifty people who browse at once: what each click takes, whether any fails, and whether every row is right.

    python -m benchmarks.visitors [--cache cache] [--experiment demo] [--visitors 50] [--seconds 60] [--think 6]

Each visitor comes with an invitation of their own to the running app, by websocket as a browser does, and then, every
`--think` seconds on average, goes to another inference, layer, feature or page. An action's time is that from the
request to the script's last message, as it arrives. Afterwards what came is compared with answers of a reader of its
own. At last all click in one moment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.report import machine, markdown
from benchmarks.seen import View, wrong_rows
from benchmarks.served import served
from kthink_core import queries
from kthink_core.access.gate import COOKIE
from kthink_core.access.invitations import Invitations
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.store.reader import Reader, open_reader

PAGES = ("", "inference", "feature", "across")
PATIENCE = 120.0


@dataclass
class Visitor:
    """One open tab, and what came in it."""

    connection: ClientConnection
    draw: random.Random
    view: View
    seconds: list[float] = field(default_factory=list)
    came: list[tuple[View, list[bytes]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def open(self, view: View) -> float:
        """Goes to a view; seconds until the last message of its script."""
        asked = BackMsg()
        asked.rerun_script.query_string, asked.rerun_script.page_name = view.query, view.page
        self.view, messages, began = view, [], time.perf_counter()
        try:
            await self.connection.send(asked.SerializeToString())
            while True:
                data = await asyncio.wait_for(self.connection.recv(), PATIENCE)
                assert isinstance(data, bytes)
                messages.append(data)
                message = ForwardMsg.FromString(data)
                kind = message.WhichOneof("type")
                if kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    break
        except (ConnectionClosed, TimeoutError) as error:
            self.failures.append(f"{view}: {error!r}")
        self.came.append((view, messages))
        return time.perf_counter() - began

    async def browse(self, reader: Reader, until: float, think: float) -> None:
        """The first pause is as long as any, so that not all come at once."""
        while not self.failures:
            await asyncio.sleep(think * self.draw.uniform(0.5, 1.5))
            if time.monotonic() > until:
                return
            self.seconds.append(await self.open(changed(self.view, reader, self.draw)))


def changed(view: View, reader: Reader, draw: random.Random) -> View:
    """What somebody does next; the feature is one that matters in the inference."""
    what = draw.choices(("inference", "feature", "layer", "page"), (35, 25, 15, 25))[0]
    if what == "page" or not view.page:  # on the overview one chooses what to read
        return replace(view, page=draw.choice([page for page in PAGES if page != view.page]))
    if what == "layer":
        view = replace(view, hookpoint=draw.choice(list(reader.experiment.saes)))
    if what == "inference":
        view = replace(view, inference=draw.choice(reader.inference_ids))
    relevant = queries.relevant_features(reader, view.inference, view.hookpoint)["feature"].tolist()
    return replace(view, feature=draw.choice(relevant or [0]))


async def browsing(
    address: str, cookies: Sequence[str], reader: Reader, seconds: float, think: float
) -> tuple[list[Visitor], list[float], list[float]]:
    """The visitors, what their first page took each, and what the last one took, for which all asked in one moment."""
    host = address.removeprefix("http://")
    first = View(reader.experiment.name, next(reversed(reader.experiment.saes)))

    async def come(number: int, cookie: str) -> tuple[Visitor, float]:
        await asyncio.sleep(think * number / len(cookies))
        connection = await connect(
            f"ws://{host}/_stcore/stream", origin=address, additional_headers={"cookie": cookie},  # pyright: ignore[reportArgumentType]
            max_size=None, open_timeout=PATIENCE, ping_interval=None, subprotocols=["streamlit"],  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        visitor = Visitor(connection, random.Random(number), first)
        return visitor, await visitor.open(first)

    came = await asyncio.gather(*(come(number, cookie) for number, cookie in enumerate(cookies)))
    visitors, opening = [visitor for visitor, _ in came], [taken for _, taken in came]
    until = time.monotonic() + seconds
    await asyncio.gather(*(visitor.browse(reader, until, think) for visitor in visitors))
    last = [changed(visitor.view, reader, visitor.draw) for visitor in visitors]
    together = await asyncio.gather(*(visitor.open(view) for visitor, view in zip(visitors, last, strict=True)))
    for visitor in visitors:
        await visitor.connection.close()
    return visitors, opening, list(together)


def figures(seconds: Sequence[float]) -> str:
    p50, p95 = np.percentile(seconds, [50, 95])
    return f"{p50:.2f} / {p95:.2f} / {max(seconds):.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--experiment", default="demo")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        shutil.copytree(options.cache / options.experiment, cache / options.experiment)
        invitations, signatures = Invitations(cache), Signatures(secret_key(cache, None))
        made = [invitations.issue(f"visitor {number}", "viewer", 1) for number in range(options.visitors)]
        cookies = [f"{COOKIE}={signatures.cookie(each.id)}" for each in made]
        there = {"KTHINK_ACCESS": "invitations", "KTHINK_EXPERIMENT": options.experiment}
        with open_reader(cache, options.experiment) as reader, served(cache, **there) as address:
            server = psutil.Process().children()[0]
            busy, before = sum(server.cpu_times()[:2]), server.memory_info().rss
            began = time.monotonic()
            visitors, opening, together = asyncio.run(
                browsing(address, cookies, reader, options.seconds, options.think)
            )
            busy, lasted = sum(server.cpu_times()[:2]) - busy, time.monotonic() - began
            after = server.memory_info().rss
            seconds = [taken for visitor in visitors for taken in visitor.seconds]
            failures = [failure for visitor in visitors for failure in visitor.failures]
            wrong = [line for visitor in visitors for line in wrong_rows(reader, visitor.came)]
            checked = Counter(view.page or "overview" for visitor in visitors for view, _ in visitor.came)
    rows = {
        f"an action, {len(seconds)} of {options.visitors} visitors: p50 / p95 / max": figures(seconds),
        "of which a second": f"{len(seconds) / options.seconds:.1f}",
        f"the first page of each, within {options.think:.0f} s: p50 / p95 / max": figures(opening),
        "all click in one moment: p50 / p95 / max": figures(together),
        "errors": str(len(failures)),
        "pages with a wrong row": f"{len(wrong)} of {sum(checked.values())} ({dict(checked)})",
        "memory of the app, before / after": f"{before / 2**20:.0f} / {after / 2**20:.0f} MiB",
        "processor time of the app over time": f"{busy:.0f} s of {lasted:.0f} s",
        "load average": f"{os.getloadavg()[0]:.1f}",
    }
    print(markdown(f"Visitors, {options.experiment}", rows, machine()))
    for line in [*failures, *wrong][:20]:
        print(line)


if __name__ == "__main__":
    main()
