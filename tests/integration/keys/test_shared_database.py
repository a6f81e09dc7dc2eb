"""Two appliances over one database: the second brings the keys of the first, or does not start."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.appliance import Appliance, appliance_in_temporary_root
from tests.support.stores import RunningStores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass(frozen=True)
class Two:
    first: Appliance
    second: Appliance

    def copy_keys(self, *, but: str = "") -> None:
        """The first one's, all or but for one."""
        target = self.second.root / "state" / "secrets"
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        kept_back = shutil.ignore_patterns(but) if but else None
        shutil.copytree(self.first.root / "state" / "secrets", target, ignore=kept_back)


@pytest.fixture
def two(private_stores: RunningStores) -> Iterator[Two]:
    mongo, redis = private_stores.mongo_uri, private_stores.redis_url
    config = f'[mongo]\nuri = "{mongo}"\n\n[redis]\nurl = "{redis}"\n'
    with (
        appliance_in_temporary_root(config) as first,
        appliance_in_temporary_root(config) as second,
    ):
        first.start("--roles", "api,scheduler")
        yield Two(first, second)


def refused(two: Two, *names: str) -> None:
    """It ends with 78 and names just these files."""
    two.second.launch("--roles", "scheduler")
    assert two.second.wait() == 78
    told = two.second.talk.rpartition("their keys differ: ")[2].partition(". Copy")[0]
    assert sorted(told.split(", ")) == sorted(names)


def runs(two: Two) -> None:
    two.second.start("--roles", "scheduler")
    assert two.second.stop() == 0


def test_an_appliance_with_other_keys_does_not_start(two: Two):
    admin = two.first.found_company()
    refused(two, "data-keys.json", "token-keys.json", "refresh-key")
    for name in ("data-keys.json", "token-keys.json", "refresh-key"):
        two.copy_keys(but=name)
        refused(two, name)
    two.copy_keys()
    runs(two)
    # What it would have sealed, the first one could not have read.
    assert admin.get("/tasks").status == 200
    assert two.first.cli("keys", "check").returncode == 0


def test_rotated_keys_have_to_be_copied_before_a_start(two: Two):
    two.copy_keys()
    runs(two)
    assert two.first.cli("keys", "rotate", "jwt").returncode == 0
    refused(two, "token-keys.json")
    assert two.first.cli("keys", "rotate", "data", "--keep-old").returncode == 0
    refused(two, "data-keys.json", "token-keys.json")
    two.copy_keys()
    runs(two)
    assert two.first.stop() == 0
    two.first.start("--roles", "api,scheduler")


def test_the_keys_of_an_appliance_are_made_the_right_ones_by_hand(two: Two):
    assert two.first.stop() == 0
    refused(two, "data-keys.json", "token-keys.json", "refresh-key")
    assert two.second.cli("keys", "adopt").returncode == 2
    assert two.second.cli("keys", "adopt", "--yes", "--dry-run").returncode == 0
    refused(two, "data-keys.json", "token-keys.json", "refresh-key")
    assert two.second.cli("keys", "adopt", "--yes").returncode == 0
    runs(two)
    two.first.launch("--roles", "api,scheduler")
    assert two.first.wait() == 78
