"""A writer in a process of its own, for tests that kill it.

`python store_process.py CACHE hold`: opens the writer, prints `ready`, waits for its input to end.
`python store_process.py CACHE append`: appends what is missing, printing the number of each inference once it is
committed, building a database at every fifth.
"""

import sys
from pathlib import Path

from store_samples import sample_experiment, sample_inference

from kthink_core.store.writer import open_writer

INFERENCES = 400


def main(cache: Path, task: str) -> None:
    experiment = sample_experiment(inferences=INFERENCES)
    with open_writer(cache, experiment) as writer:
        if task == "hold":
            print("ready", flush=True)
            sys.stdin.read()
            return
        for index in range(experiment.inferences):
            if index not in writer.committed:
                writer.append(sample_inference(experiment, index))
                print(index, flush=True)
                if index % 5 == 0:
                    writer.build()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
