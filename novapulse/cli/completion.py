"""`novapulse completion`."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes verbs and options in SHELL.

    For bash: novapulse completion bash > ~/.local/share/bash-completion/completions/novapulse
    """
    from novapulse.cli.program import program

    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"there is no completion for {shell}")
    made = kind(program, {}, "novapulse", "_NOVAPULSE_COMPLETE")
    # Not `source()`: for bash that would run the bash of this machine to ask its version.
    click.echo(made.source_template % made.source_vars())
