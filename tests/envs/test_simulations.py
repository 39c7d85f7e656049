"""The host's side of the C engine: threads that share the simulations of one call."""

import time

import mujoco
import pytest

from mbrl_jax.envs.simulations import Pool

BALL = "<mujoco><worldbody><body><freejoint/><geom size='0.1'/></body></worldbody></mujoco>"


def test_after_a_failure_no_thread_still_works_on_the_simulations():
    """Else it would write into them while the next caller uses them."""
    finished = []

    class Actions:
        """Fails at the first simulation, whichever thread steps it; takes its time at the second."""

        def __getitem__(self, i):
            if i == 0:
                raise KeyError("the first one")
            time.sleep(0.2)
            finished.append(i)
            return 0.0

    pool = Pool(mujoco.MjModel.from_xml_string(BALL), ("qpos", "cfrc_ext"), threads=2)
    with pytest.raises(KeyError, match="the first one"), pool.take(2) as simulations:
        simulations.state[:] = 0.0
        simulations.step(Actions(), 1)
    assert finished == [1]


def _timed() -> float:
    """What a physics step reports of the seconds it took."""
    model = mujoco.MjModel.from_xml_string(BALL)
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    return sum(timer.duration for timer in data.timer)


def test_physics_runs_without_a_clock_unless_somebody_sets_one():
    """The package's own clock would cost up to a quarter of a step."""
    model = mujoco.MjModel.from_xml_string(BALL)
    mujoco.set_mjcb_time(None)  # the package's own
    try:
        assert _timed() > 0
        Pool(model, ("qpos",), threads=1)
        assert _timed() == 0
        ticks = iter(range(1000))
        mujoco.set_mjcb_time(lambda: float(next(ticks)))
        Pool(model, ("qpos",), threads=1)
        assert _timed() > 0
    finally:
        mujoco.set_mjcb_time(None)
        Pool(model, ("qpos",), threads=1)
