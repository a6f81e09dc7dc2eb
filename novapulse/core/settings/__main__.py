"""`python -m novapulse.core.settings example|reference` prints a generated file."""

import sys

from novapulse.core.settings.render import render_example, render_reference

_PAGES = {"example": render_example, "reference": render_reference}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in _PAGES:
        sys.exit("usage: python -m novapulse.core.settings example|reference")
    sys.stdout.write(_PAGES[sys.argv[1]]())
