"""Who only starts and watches the stores does not pay for their drivers."""

import subprocess
import sys

_SHOW = """\
import sys
import novapulse.stores.addresses, novapulse.stores.find, novapulse.stores.layout
import novapulse.stores.mongod, novapulse.stores.redis
print(sorted({"pymongo", "bson", "redis", "asyncio"} & set(sys.modules)))
"""


def test_starting_a_store_loads_no_driver():
    done = subprocess.run(
        [sys.executable, "-c", _SHOW], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[]\n"
