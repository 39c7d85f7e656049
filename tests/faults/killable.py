"""A process that trains one small run again and again, in a folder of its own each time, until it is killed.

usage: killable.py ROOT NAME DEVICES
"""

import itertools
import sys
from pathlib import Path

if __name__ == "__main__":
    root, name, devices = sys.argv[1:]
    sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("faults", "algorithms")]
    from mbrl_jax.runner import setup

    setup.configure(cpu_devices=2)

    import jax
    import states
    import subjects

    from mbrl_jax.runner import loop

    with states.Programs().shared():
        for number in itertools.count():
            options = states.OFTEN._replace(devices=tuple(jax.local_devices()[: int(devices)]))
            loop.train(subjects.case_run(name, 6), Path(root) / f"{number:04d}", options)
