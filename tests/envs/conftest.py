"""MuJoCo writes warnings to a log file in the working directory; the tests keep it clean."""

import mujoco
import pytest


@pytest.fixture(autouse=True, scope="session")
def no_log_file():
    mujoco.set_mju_user_warning(lambda message: None)
    yield
    mujoco.set_mju_user_warning(None)
