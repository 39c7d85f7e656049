"""Addresses, and whole objects behind them in both protocols: listed, read, written, written on conditions, refused."""

import os
import sys

import pytest
import server

from mbrl_jax import storage
from mbrl_jax.host import MissingPackageError
from mbrl_jax.storage.address import Address, parse, shared_keys
from mbrl_jax.storage.bucket import Bucket, bucket

PLACES = ("s3://a-bucket/results/of/mine", "gs://a-bucket/results")


@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("s3://a-bucket", Address("s3", "a-bucket", "")),
        ("s3://a-bucket/x/y/", Address("s3", "a-bucket", "x/y")),
        ("s3:/a-bucket/x", Address("s3", "a-bucket", "x")),  # what a `Path` makes of it
        ("GS://a-bucket/x", Address("gs", "a-bucket", "x")),
        ("results", None),
        ("/s3/a-bucket", None),
        ("C:/results", None),
    ],
)
def test_addresses_are_told_from_folders(named, address):
    assert parse(named) == address
    assert address is None or parse(str(address)) == address


@pytest.mark.parametrize("named", ["http://a-bucket/x", "s3://", "s3://A_Bucket", "s3://a-bucket/../x", "s3:///x"])
def test_other_addresses_are_refused_with_the_forms_that_are_known(named):
    with pytest.raises(ValueError, match=r"s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, got"):
        storage.folder(named)


@pytest.mark.parametrize("place", PLACES)
def test_objects_are_written_listed_in_pages_read_and_removed(s3, place):
    found = bucket(parse(place))
    keys = [f"runs/{i}/manifest.json" for i in range(3 * server.PAGE)]
    for key in keys:
        found.put(key, key.encode())
    found.put("runs-of-another/x", b"x")
    listed = found.list("runs")
    assert sorted(listed) == sorted(keys) and {one.size for one in listed.values()} == {20, 21}
    content, entry = found.read(keys[5])
    assert content == keys[5].encode() and entry.tag.e_tag == listed[keys[5]].tag.e_tag
    found.delete([keys[5], "nothing"])
    assert found.read(keys[5]) is None and len(found.list()) == len(keys)
    assert all(key.startswith(parse(place).prefix + "/") for key in s3.store.buckets["a-bucket"])


@pytest.mark.parametrize("place", PLACES)
def test_a_large_object_goes_in_parts_and_comes_back_whole(s3, place, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(11 * 2**20))
    bucket(parse(place)).put("large", tmp_path / "large")
    assert sum(command == "PUT" for command, _ in s3.store.requests) >= 3
    assert bucket(parse(place)).fetch("large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "large").read_bytes()
    assert not bucket(parse(place)).fetch("nothing", tmp_path / "nothing")


@pytest.mark.parametrize("place", PLACES)
def test_conditions_let_one_of_several_write(s3, place):
    found = bucket(parse(place))
    first = found.create("lease", b"1")
    assert first is not None and found.create("lease", b"2") is None
    second = found.replace("lease", b"3", first)
    assert second is not None and found.replace("lease", b"4", first) is None
    assert found.replace("nothing", b"5", second) is None
    assert found.read("lease")[0] == b"3"
    found.check_conditions()
    assert found.list("probes") == {} and abs(found.now - s3.store.buckets["a-bucket"].popitem()[1].when) < 2


@pytest.mark.parametrize("place", PLACES)
def test_a_storage_that_forgets_conditions_is_refused_for_work_and_may_be_read(s3, place):
    s3.store.conditional = False
    root = storage.folder(place)
    storage.refresh(root)
    with pytest.raises(OSError, match=r"must keep conditions of writes"):
        storage.check_writable(root)
    assert s3.store.buckets["a-bucket"] == {}


def refusal(place, **environment):
    """What is said of an address, which must be one line."""
    bucket.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value) if value else patch.delenv(name)
        with pytest.raises(OSError) as caught:
            storage.folder(place)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(place)
    return str(caught.value)


def test_what_is_wrong_with_an_address_is_said_in_a_line(s3, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "there is no such bucket" in refusal("s3://another-bucket/x")
    assert "access is denied (InvalidAccessKeyId)" in refusal(PLACES[0], AWS_ACCESS_KEY_ID="wrong")
    s3.store.refuse = lambda command, key: "AuthorizationHeaderMalformed"
    assert "another region than AWS_REGION" in refusal(PLACES[0])
    s3.__exit__()
    assert "error sending request" in refusal(PLACES[0])


def test_the_absence_of_keys_is_said(s3, monkeypatch, tmp_path):
    """A machine of a cloud is told keys by an address of its own; here a server that knows none stands for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "no keys were found" in refusal(PLACES[0], AWS_ACCESS_KEY_ID="")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr("mbrl_jax.storage.bucket.KEY_HOSTS", (s3.url,))
    assert "no keys were found" in refusal(PLACES[0], AWS_METADATA_ENDPOINT=s3.url)


def test_keys_are_read_from_the_file_of_amazons_tools(s3, monkeypatch, tmp_path):
    (tmp_path / "keys").write_text(
        f"[default]\naws_access_key_id = other\n[mine]\naws_access_key_id = {server.KEY}\n"
        f"aws_secret_access_key = {server.SECRET}%\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert "access is denied" in refusal(PLACES[0], AWS_ACCESS_KEY_ID="wrong", AWS_SECRET_ACCESS_KEY="x")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert shared_keys() == {"aws_access_key_id": server.KEY, "aws_secret_access_key": f"{server.SECRET}%"}
    assert storage.folder(PLACES[0]).is_dir()
    monkeypatch.setenv("AWS_PROFILE", "nobody's")
    assert shared_keys() == {}


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingPackageError, match=r"results at s3:// needs the package obstore: .*'\.\[storage\]'"):
        Bucket(Address("s3", "a-bucket", ""))
