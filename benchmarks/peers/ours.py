"""This project's worker: the same pieces as the peers', one seed, and many at once."""

from collections.abc import Callable

from benchmarks import common, workloads
from benchmarks.peers.serve import serve
from benchmarks.training import ways
from benchmarks.workloads import Sizes, Workload
from mbrl_jax.runner import setup

MANY = 4  # seeds at once


def _case(work: Workload, seeds: int, way: str) -> Callable[[], int]:
    timed = workloads.prepare(work, seeds, *ways(seeds)[way])

    def run() -> int:
        timed.block()
        return work.units * seeds

    return run


def main() -> None:
    """Serves."""
    setup.configure()
    sizes = Sizes()
    probe, _ = common.matmul_probes()["one device"]
    sac, fit = workloads.sac_update(sizes, 200), workloads.ensemble_step(sizes, 64)
    many = "sharded" if "sharded" in ways(MANY) else "vmap"
    cases = {
        "sac": _case(sac, 1, "alone"),
        f"sac, {MANY} seeds": _case(sac, MANY, many),
        "ensemble": _case(fit, 1, "alone"),
        f"ensemble, {MANY} seeds": _case(fit, MANY, many),
        "rollout": _case(workloads.model_rollout(sizes), 1, "alone"),
        "planner": _case(workloads.planner(), 1, "alone"),
        "ppo": _case(workloads.ppo_iteration(), 1, "alone"),
        f"ppo, {MANY} seeds": _case(workloads.ppo_iteration(), MANY, many),
        "matmul": lambda: probe() is None or 1,
    }
    serve("mbrl_jax", ("jax", "jaxlib", "flax", "optax"), cases)


if __name__ == "__main__":
    main()
