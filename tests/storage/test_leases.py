"""Leases at an address: one holder, renewed while it lives, taken after its death and only then; a late one is told."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbrl_jax.locks import BusyError
from mbrl_jax.storage import lease
from mbrl_jax.storage.address import parse
from mbrl_jax.storage.bucket import bucket

PLACE = "s3://a-bucket/results"
HOLDER = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from mbrl_jax.storage import lease
from mbrl_jax.storage.address import parse
from mbrl_jax.storage.bucket import bucket
lease.SECONDS = 2.0
lease.Lease(bucket(parse({PLACE!r})), "jobs/a/lease", "another copy")
print("held", flush=True)
time.sleep(600)
"""


def take(copy, key="jobs/a/lease"):
    return lease.Lease(bucket(parse(PLACE)), key, copy)


def test_a_lease_has_one_holder_until_it_is_given_back(s3, short):
    held = take("one")
    with pytest.raises(BusyError, match=rf"work on {PLACE}/jobs/a; it is held by process \d+ on .*, who said so"):
        take("two")
    take("two", "jobs/b/lease").release()
    time.sleep(2 * lease.SECONDS)  # renewed meanwhile
    with pytest.raises(BusyError):
        take("two")
    held.release()
    take("two").release()
    assert [entry.size for entry in bucket(parse(PLACE)).list("jobs").values()] == [0, 0]


def test_a_lease_is_taken_after_its_holders_death_and_only_then(s3, short):
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        time.sleep(1.5 * lease.SECONDS)
        with pytest.raises(BusyError):
            take("one")
        holder.kill()
        died, refused = time.time(), 0
        while True:
            try:
                taken = take("one")
                break
            except BusyError:
                refused += 1
                time.sleep(0.05)
    assert refused and lease.SECONDS / 2 < time.time() - died < 3 * lease.SECONDS
    taken.release()


def test_a_dead_holders_lease_is_taken_at_once_where_its_lock_was_given_back(s3):
    """Whoever asks holds the copy's lock, which the dead process had held."""
    dead = take("one")
    dead._over.set()
    took = take("one")
    with pytest.raises(BusyError):
        take("two")
    took.release()


def test_a_holder_that_was_away_for_too_long_is_told_before_it_publishes(s3, short, monkeypatch):
    monkeypatch.setattr(lease, "RENEWALS", 1e-3)  # its thread sleeps: a process that was stopped
    away = take("one")
    away.renew()
    time.sleep(lease.SECONDS + 1.5)  # the storage's clock counts whole seconds
    took = take("two")
    with pytest.raises(BusyError, match="silent for too long"):
        away.renew()
    assert away.lost
    away.release()
    took.renew()  # which giving back what was lost did not disturb
    took.release()


def test_a_lease_outlives_a_network_that_fails_for_a_while(s3, short):
    held = take("one")
    s3.store.refuse = lambda command, key: command == "PUT"
    with pytest.raises(OSError, match="could not be written"):
        held.renew()
    time.sleep(lease.SECONDS / 2)
    s3.store.refuse = None
    time.sleep(lease.SECONDS)
    held.renew()
    with pytest.raises(BusyError):
        take("two")
    held.release()
