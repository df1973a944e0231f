"""Token injection on the demo: one feature, the features that it is compared with included, and fifty.

python -m benchmarks.injection [HOOKPOINT]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.report import machine, markdown
from kthink_core import queries
from kthink_core.evidence.injection_run import Materials, run
from kthink_core.evidence.injection_test import LENGTH, TEXTS
from kthink_core.model.feature_maxima import FeatureMaxima
from kthink_core.model.language_model import token_text
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.plain_texts import plain_texts
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store.reader import Reader, open_reader

MANY = 50


def tested(made: Plan, reader: Reader, hookpoint: str, features: list[int]) -> tuple[str, Counter[str]]:
    """What it took, texts read included, and how many got which verdict."""
    wall, cpu = time.perf_counter(), time.process_time()
    texts = plain_texts(made.lm.tokenizer, made.experiment.config, None, LENGTH, TEXTS)
    site, sae = made.experiment.config.site, made.saes.by_hookpoint[hookpoint]
    probe = FeatureMaxima(made.lm, sae, hookpoint, site, texts.token_ids)
    materials = Materials(
        reader, hookpoint, probe, lambda token_id: token_text(made.lm.tokenizer, token_id), texts.source, 0
    )
    said = Counter(step.result.verdict for step in run(materials, features) if step.result)
    return f"{time.perf_counter() - wall:.1f} s ({time.process_time() - cpu:.1f} s of processor)", said


def main() -> None:
    hookpoint = sys.argv[1] if len(sys.argv) > 1 else "layers.6.mlp"
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        made = plan("demo", preset("demo"), "cpu", Silent())
        precompute(made, Path(folder), 32, Silent())
        with open_reader(Path(folder), "demo") as reader:
            features = queries.feature_table(reader, hookpoint, top=MANY)["feature"].tolist()
            rows[f"one feature of {hookpoint}, with ten controls (target ≤ 10 s)"] = tested(
                made, reader, hookpoint, features[:1]
            )[0]
            rows["one feature, the controls stored"] = tested(made, reader, hookpoint, features[1:2])[0]
            rows[f"{len(features)} features (target ≤ 60 s)"], said = tested(made, reader, hookpoint, features)
    rows |= {f"of these {verdict}": str(count) for verdict, count in sorted(said.items())}
    print(markdown("Token injection", rows, machine()))


if __name__ == "__main__":
    main()
