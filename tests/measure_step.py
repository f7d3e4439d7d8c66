"""Time a training step with and without the memory that `nbutils.runtime` keeps.

python tests/measure_step.py [ROUNDS]

Each round trains the network that ships on random images, in a process of its own for each way.
"""

import statistics
import subprocess
import sys
import time

import numpy as np

from nbutils import runtime

STEPS, BATCH, SIZE = 16, 32, 200
WAYS = ("kept", "given back")


def seconds_a_step(way: str) -> float:
    """Return the seconds of a step, in the second of two epochs."""
    if way != "kept":
        runtime.KEEP_FREED_MEMORY.clear()
    from nbutils.data.cells import Samples
    from nbutils.models import batches, defect_head, networks, training

    network = networks.pretrained("mobilenet_v2", 6, 0, SIZE, 0.35, True, weights=None)
    trainer = defect_head.DefectTrainer(defect_head.add_head(network, 6), 1.0)
    settings = training.recipe("mobilenet_v2", head=False, seed=0) | {"batch_size": BATCH}
    trainer.compile(training.make_optimizer(settings), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(STEPS * BATCH, SIZE, SIZE, 1), dtype=np.uint8)
    boxes = [np.array([[0, 20, 20, 120, 120]], np.float32)] * len(images)
    samples = Samples(images, np.zeros(len(images), int), boxes)
    drawn = batches.boxes_dataset(samples, 6, trainer.grid, settings)
    trainer.fit(drawn, verbose=0)
    start = time.perf_counter()
    trainer.fit(drawn, verbose=0)
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    """Print seconds a step for each way, the median of the rounds, and their ratio."""
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        print(seconds_a_step(sys.argv[1]))
        return
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(int(sys.argv[1]) if sys.argv[1:] else 2):
        for way, seconds in taken.items():
            command = [sys.executable, __file__, way]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(float(found.stdout.split()[-1]))
    medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
    for way, median in medians.items():
        print(f"memory {way}: {median:.2f} s a step")
    print(f"ratio {medians['given back'] / medians['kept']:.2f}")


if __name__ == "__main__":
    main()
