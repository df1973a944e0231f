"""All figures of a GPU in one call, part by part; each is written down as soon as it is measured.

    python -m benchmarks.gpu                             the article's shape with random weights, on CUDA; 8 minutes
    python -m benchmarks.gpu --parts decode live         some parts
    python -m benchmarks.gpu --device cpu --small        every part on a tiny model: whether they work

OUT (`bench-gpu`) gets `results-DEVICE-SHAPE.json`; what is in it already is not measured again, so that a call that was
cut off is followed by another. Needs no network: the model and its SAEs are made here (benchmarks/stand_in.py), in the
folder for temporary files, and removed once all parts are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.gpu_parts import PARTS, Sizes
from benchmarks.report import machine, markdown
from benchmarks.stand_in import SHAPES, make_stand_in
from kthink_core.config import Device, ExperimentConfig
from kthink_core.errors import BadValue, KthinkError
from kthink_core.model.language_model import pick_device
from kthink_core.precompute.pipeline import Plan, plan
from kthink_core.precompute.progress import Silent

FULL = Sizes(
    problems=32, new_tokens=400, article=2, batches=(1, 8, 32), tokens=100, positions=4096, rounds=3,
    trace=2000, features=32,
)  # fmt: skip
SMALL = Sizes(
    problems=3, new_tokens=6, article=1, batches=(1, 3), tokens=4, positions=16, rounds=1, trace=24, features=2
)


class Setting(NamedTuple):
    """What is measured where."""

    device: Device
    shape: str
    sizes: Sizes
    stand_in: Path

    @property
    def results(self) -> str:
        return f"results-{self.device}-{self.shape}.json"


def load(setting: Setting) -> Plan:
    """The plan of the stand-in, which is made where it is not there yet."""
    whole = setting.stand_in / "whole"
    if not whole.exists():
        print(f"making a stand-in of shape {setting.shape} in {setting.stand_in}", file=sys.stderr, flush=True)
        make_stand_in(SHAPES[setting.shape], setting.stand_in)
        whole.touch()
    config = ExperimentConfig(
        model=str(setting.stand_in / "model"),
        sae=str(setting.stand_in / "saes"),
        hookpoints=SHAPES[setting.shape].hookpoints,
        problems="demo",
        limit=setting.sizes.problems,
        max_new_tokens=setting.sizes.new_tokens,
    )
    ready = plan("gpu", config, setting.device, Silent())
    head = ready.lm.model.get_output_embeddings()
    assert head is not None
    head.weight.mul_(10)  # random weights find all tokens alike, for which a sampler sorts the whole vocabulary
    return ready


def run(setting: Setting, names: Sequence[str], out: Path, seconds: float) -> int:
    """Measure the parts that are missing, while there is time. Exit status 1 where some are missing then."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / setting.results
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    card = torch.cuda.get_device_name() if setting.device == "cuda" else "no GPU"
    where = f"{card}; {machine()}"
    stock = cache(partial(load, setting))
    began = time.monotonic()
    for name in names:
        if name in done or time.monotonic() - began > seconds:
            continue
        part_began = time.monotonic()
        try:
            figures = PARTS[name](stock, setting.device, setting.sizes)
        except (KthinkError, RuntimeError) as error:  # torch's own are RuntimeErrors, out of memory too
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            continue
        took = round(time.monotonic() - part_began, 1)
        done[name] = {"machine": where, "seconds": took, "figures": figures}
        _write(path, done)
        rows = {what: value if isinstance(value, str) else f"{value:,.4g}" for what, value in figures.items()}
        print(markdown(f"{name} ({took} s)", rows, where), flush=True)
    missing = [name for name in names if name not in done]
    print(f"in {path}: {', '.join(done)}" + (f"; missing, call again: {', '.join(missing)}" if missing else ""))
    if not PARTS.keys() - done.keys():
        shutil.rmtree(setting.stand_in, ignore_errors=True)
    return 1 if missing else 0


def _write(path: Path, done: dict[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(done, indent=1) + "\n")
    beside.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny model and few tokens")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("bench-gpu"))
    parser.add_argument("--seconds", type=float, default=420, help="no part is begun later")
    options = parser.parse_args(arguments)
    shape = "tiny" if options.small else "full"
    try:
        pick_device(options.device)
    except BadValue:
        print("bench-gpu: no CUDA device here; `--device cpu --small` tries whether the parts work", file=sys.stderr)
        return 2
    stand_in = Path(tempfile.gettempdir()) / f"kthink-stand-in-{shape}"
    setting = Setting(options.device, shape, SMALL if options.small else FULL, stand_in)
    return run(setting, options.parts, options.out, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
