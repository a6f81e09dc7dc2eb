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

# A worker of a pool does not run this file again.
globals().pop("__file__", None)

if sys.argv[1:2] == ["--multiprocessing-fork"]:
    from multiprocessing.spawn import freeze_support

    freeze_support()
elif sys.argv[-2:-1] == ["-c"]:
    # Perhaps what tidies up after a pool, which asks for a Python.
    _words = sys.argv[-1].replace("(", " ").replace(")", "").split()
    if _words[:4] == ["from", "multiprocessing.resource_tracker", "import", "main;main"]:
        from multiprocessing.resource_tracker import main as tidy

        tidy(int(_words[4]))
        sys.exit()

from novapulse.cli import main  # noqa: E402  # the environment is put right before anything else

main()
