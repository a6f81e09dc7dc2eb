from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.supervised import Appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    one = Appliance(tmp_path)
    yield one
    for main in one.started:
        if main.poll() is None:
            main.kill()
        main.wait(30)
        for stream in (main.stdout, main.stderr):
            if stream is not None:
                stream.close()
