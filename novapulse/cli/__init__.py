"""The command line: parse → service → print. `--help` imports no framework."""

from novapulse.cli.program import main

__all__ = ["main"]
