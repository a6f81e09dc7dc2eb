"""What the driver's errors mean to us."""

from typing import Any

import pytest
from pymongo import errors as mongo_errors

from novapulse.core import errors
from novapulse.core.mongocalls import Duplicate, translate

DUPLICATE = {"code": 11000, "errmsg": "E11000 duplicate key error index: open_key dup key: …"}


def batch(**details: Any) -> mongo_errors.BulkWriteError:
    return mongo_errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [], **details})


@pytest.mark.parametrize("code", [64, 91, 134, 211, 246, 11600, 13435])
def test_a_server_that_starts_or_stops_is_unavailable_however_it_says_so(code: int) -> None:
    said = {"code": code, "errmsg": "…"}
    ways = [
        mongo_errors.OperationFailure("…", code=code),
        batch(writeErrors=[said]),
        batch(writeConcernErrors=[said]),
    ]
    assert [type(translate(error)) for error in ways] == [errors.Unavailable] * 3


def test_a_duplicate_names_its_index_alone_and_in_a_batch() -> None:
    alone = mongo_errors.DuplicateKeyError("…", code=11000, details=DUPLICATE)
    for error in (alone, batch(writeErrors=[DUPLICATE])):
        found = translate(error)
        assert isinstance(found, Duplicate)
        assert found.index == "open_key"


def test_a_full_disk_is_told_apart() -> None:
    assert isinstance(translate(batch(writeErrors=[{"code": 14031}])), errors.StorageFull)


def test_what_nobody_expected_stays_what_it_is() -> None:
    surprise = mongo_errors.OperationFailure("…", code=9)
    with pytest.raises(mongo_errors.OperationFailure) as raised:
        translate(surprise)
    assert raised.value is surprise
