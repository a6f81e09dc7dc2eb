"""The command line: parse → service → print. `--help` imports no framework."""

from novapulse.cli.start import main

__all__ = ["main"]
