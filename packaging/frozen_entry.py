"""What the built program runs first. In a checkout, `novapulse/__main__.py` does instead."""

import os
import sys

# The bootloader points the dynamic loader, and its own next start, into the bundle. Both have
# done their work by now, and no program that we start shall load our libraries.
for _name in [name for name in os.environ if name.startswith("_PYI_")]:
    del os.environ[_name]
_libraries = os.environ.pop("LD_LIBRARY_PATH_ORIG", "")
os.environ.pop("LD_LIBRARY_PATH", None)
if _libraries:
    os.environ["LD_LIBRARY_PATH"] = _libraries

if "--multiprocessing-fork" in sys.argv[1:2] or "-c" in sys.argv[-2:-1]:
    # A worker of a process pool, or what tidies up after one, which ends with `-c CODE`.
    from multiprocessing import freeze_support

    freeze_support()

from novapulse.cli import main  # noqa: E402  # the environment is put right before anything else

main()
