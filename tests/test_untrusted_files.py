"""Whatever is done to a file of an experiment or of an SAE: a right answer or one line, never a wrong number.

What is right is told from untouched stores with the inferences that can still be seen. Nothing is written outside the
experiment's folder, and no file makes a reader take a gigabyte or half a minute.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from store_samples import HOOKPOINTS, sample_experiment, sample_fidelity, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.errors import KthinkError, in_words
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sparse_coder import KSparse
from kthink_core.records import Directions
from kthink_core.store.export import export
from kthink_core.store.reader import Reader, list_experiments, open_reader
from kthink_core.store.writer import open_writer

NUMBER, BUILT = 5, 3
EXPERIMENT = sample_experiment("one", NUMBER)
OTHER = sample_experiment("other", NUMBER)
MEMORY = 1_000_000
"""Kilobytes that the process may grow by."""
BOUNDED = settings(
    max_examples=20,
    deadline=timedelta(seconds=30),
    phases=[Phase.explicit, Phase.generate],  # an example says enough, and to find a smaller one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Store(NamedTuple):
    """An untouched cache with two experiments, and the right answers by visible inferences."""

    cache: Path
    right: Callable[[frozenset[int]], dict[str, Any]]


def write(cache: Path, numbers: frozenset[int], seed: int = 0, name: str = "one") -> None:
    experiment = EXPERIMENT if name == "one" else OTHER
    drawn = [inference for inference in sample_inferences(experiment, seed=seed) if inference.inference in numbers]
    write_sample(cache, experiment, drawn, min(BUILT, len(drawn)))
    with open_writer(cache, experiment) as writer:
        found = {hookpoint: directions(kept) for hookpoint, kept in writer.active_features.items()}
        writer.put_directions(found, {0: "a", 1: "b"})
        for inference in writer.unmeasured():
            writer.fidelity.put(inference, sample_fidelity(inference, seed))


def directions(features: np.ndarray) -> Directions:
    ids = np.zeros((len(features), 2), np.int32)
    values = np.ones((len(features), 2), np.float32)
    return Directions(features, ids, values, ids, values, ids + 1, values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("untouched")
    write(folder / "cache", frozenset(range(NUMBER)))
    write(folder / "cache", frozenset(range(NUMBER)), seed=1, name="other")
    known: dict[frozenset[int], dict[str, Any]] = {}

    def right(visible: frozenset[int]) -> dict[str, Any]:
        if visible not in known:
            cache = folder / "-".join(map(str, sorted(visible)))
            write(cache, visible)
            with open_reader(cache, "one") as reader:
                known[visible] = answers(reader)
        return known[visible]

    return Store(folder / "cache", right)


def answers(reader: Reader) -> dict[str, Any]:
    """What an experiment says, in whatever order it was stored."""
    found: dict[str, Any] = {"visible": frozenset(reader.inference_ids)}
    asked: list[tuple[Callable[..., pd.DataFrame], tuple[object, ...]]] = [(queries.inferences, ())]
    for inference in reader.inference_ids:
        asked += [(queries.transcript, (inference,)), (queries.feature_activations, (inference, HOOKPOINTS[0]))]
    for hookpoint in HOOKPOINTS if reader.inference_ids else ():
        asked += [(queries.feature_counts, (hookpoint,)), (queries.top_tokens, (hookpoint, 3))]
    for query, arguments in asked:
        found[f"{query.__name__} {arguments}"] = query(reader, *arguments).to_json(orient="records")
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


class Harm(NamedTuple):
    """What is done to a file."""

    kind: str
    place: float
    """Where, as a share of the file's length."""
    bit: int
    value: object
    other: int
    """Which other file takes its place."""

    def do(self, path: Path, others: list[Path]) -> None:
        content = path.read_bytes()
        at = int(self.place * len(content))
        if self.kind == "flip":
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << self.bit]) + content[at + 1 :])
        elif self.kind == "truncate":
            path.write_bytes(content[:at])
        elif self.kind == "swap":
            path.write_bytes(others[self.other % len(others)].read_bytes())
        elif self.kind == "json":
            path.write_text(json.dumps(self.value))
        else:
            path.unlink()
            if self.kind == "folder":
                path.mkdir()


harms = st.builds(
    Harm,
    st.sampled_from(["flip", "flip", "truncate", "delete", "swap", "swap", "json", "folder"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 7),
    json_values,
    st.integers(0, 100),
)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "writer.lock")


@pytest.fixture
def grows_little() -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on (man 5 proc)
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < MEMORY


def memory(name: str) -> int:
    """Kilobytes, as the system counts them."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1])


def seen(cache: Path, right: Callable[[frozenset[int]], dict[str, Any]], harmed: Path | None) -> frozenset[int]:
    """The inferences that a reader sees, all that it says of them being right; none where it says one line, which
    names the file."""
    try:
        with open_reader(cache, "one") as reader:
            found = answers(reader)
            left_out = len(reader.warnings)
    except (KthinkError, OSError) as error:
        assert "\n" not in in_words(error)
        assert harmed is not None and (harmed.name in str(error) or "another experiment" in str(error))
        return frozenset()
    assert found == right(found["visible"])
    assert len(found["visible"]) == NUMBER or left_out, "what is left out is told"
    return found["visible"]


def test_what_nobody_harmed_is_all_there(store: Store, tmp_path: Path) -> None:
    assert seen(store.cache, store.right, None) == frozenset(range(NUMBER))
    exported(store.cache, tmp_path / "out.duckdb", store.right)
    exported(store.cache, tmp_path / "out.parquet", store.right)
    assert len(list(tmp_path.iterdir())) == 2


@settings(BOUNDED, max_examples=12)
@given(harm=harms, file=st.integers(0, 1000))
def test_a_file_of_an_experiment(
    store: Store, tmp_path_factory: pytest.TempPathFactory, grows_little: None, harm: Harm, file: int
) -> None:
    root = tmp_path_factory.mktemp("harmed")
    cache = root / "cache"
    shutil.copytree(store.cache, cache)
    (root / "latents-0001.duckdb").write_text("somebody else's")
    own, strange = files(cache / "one"), files(cache / "other")
    neighbour = {path: path.read_bytes() for path in strange}
    # Half of the time one of the four that are no segment file.
    few = [path for path in own if path.parent.name != "journal"]
    path = few[file % len(few)] if file % 2 else own[file % len(own)]
    same_name = cache / "other" / path.relative_to(cache / "one")
    harm.do(path, [same_name, *own, *strange])

    listed = {status.name: status for status in list_experiments(cache)}
    assert listed["other"].problem is None and listed["other"].committed == NUMBER
    seen(cache, store.right, path)
    for ending in ("duckdb", "parquet"):
        exported(cache, root / f"out.{ending}", store.right)
    try:
        with open_writer(cache, EXPERIMENT, lambda line: None) as writer:
            writer.build()
            committed = writer.committed
    except (KthinkError, OSError) as error:
        assert "\n" not in in_words(error)
    else:
        assert committed >= frozenset(range(NUMBER)) - {index(path)}
        with open_reader(cache, "one") as reader:
            assert answers(reader) == store.right(committed), "a writer mends what can be mended"
    assert {path: path.read_bytes() for path in files(cache / "other")} == neighbour
    assert {path.name for path in root.iterdir()} <= {"cache", "latents-0001.duckdb", "out.duckdb", "out.parquet"}
    assert (root / "latents-0001.duckdb").read_text() == "somebody else's"
    shutil.rmtree(root)


def index(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else -1


def exported(cache: Path, target: Path, right: Callable[[frozenset[int]], dict[str, Any]]) -> None:
    try:
        export(cache, "one", target)
    except (KthinkError, OSError) as error:
        assert "\n" not in in_words(error) and not target.exists()
        return
    if target.suffix == ".parquet":
        with open_reader(cache, "one") as reader:
            assert pq.read_metadata(target).num_rows == len(reader.query("SELECT 1 AS one FROM latents"))


@BOUNDED
@given(harm=harms, file=st.integers(0, 1))
def test_a_file_of_an_sae(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, grows_little: None, harm: Harm, file: int
) -> None:
    """A flipped bit of a weight makes another SAE, and the revision that its experiments bear is another."""
    root = tmp_path_factory.mktemp("harmed")
    shutil.copytree(tiny / "saes", root / "saes")
    hookpoint, other = sorted(path.name for path in (root / "saes").iterdir())
    names = ("cfg.json", "sae.safetensors")
    path = root / "saes" / hookpoint / names[file]
    others = [root / "saes" / folder / name for folder in (other, hookpoint) for name in names]
    cpu = torch.device("cpu")
    before = load_saes(str(tiny / "saes"), None, [hookpoint], cpu)
    harm.do(path, others)
    try:
        after = load_saes(str(root / "saes"), None, [hookpoint], cpu)
    except (KthinkError, OSError) as error:
        assert "\n" not in in_words(error)
    else:
        was, now = before.by_hookpoint[hookpoint], after.by_hookpoint[hookpoint]
        weights = [list(sae._coder.state_dict().values()) for sae in (was, now) if isinstance(sae, KSparse)]
        same = was.shape == now.shape and all(map(torch.equal, *weights))
        assert same or before.revision != after.revision
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights[1])
    assert {path.name for path in root.iterdir()} == {"saes"}
    shutil.rmtree(root)
