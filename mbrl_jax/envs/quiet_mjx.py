"""MJX, and its modules that have no public names, imported without its remark that the optional package warp is absent.

Those modules are as in mujoco-mjx 3.17.
"""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx
    from mujoco.mjx._src import collision_driver, collision_primitive, forward, scan, smooth

__all__ = ["collision_driver", "collision_primitive", "forward", "mjx", "scan", "smooth"]
