"""`python -m novapulse` is the program."""

from novapulse.cli import main

main()
