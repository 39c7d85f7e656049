"""A process that trains a tiny run, for tests that kill it or give it another number of devices.

usage: worker.py ROOT DEVICES BATCHING CHUNK_SECONDS CHECKPOINT_SECONDS
Exits with the code of the signal that stopped it; prints a digest of the final state and of the metrics.
"""

import hashlib
import os
import sys
from pathlib import Path

import jax

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from mbrl_jax.runner import setup

    root, devices, batching, chunk_seconds, checkpoint_seconds = sys.argv[1:]
    setup.configure(cpu_devices=int(devices))

    import tiny

    from mbrl_jax import results
    from mbrl_jax.runner import loop

    print(f"worker {os.getpid()} on {jax.local_device_count()} devices", file=sys.stderr, flush=True)
    options = loop.Options(
        chunk_seconds=float(chunk_seconds),
        checkpoint_seconds=float(checkpoint_seconds),
        batching=batching,
        quiet=False,
    )
    run = tiny.run()
    identity = loop.train(run, root, options)
    print(hashlib.sha256(tiny.final_bytes(run, root)).hexdigest())
    print(hashlib.sha256(results.load_run(root, identity).to_csv().encode()).hexdigest())
