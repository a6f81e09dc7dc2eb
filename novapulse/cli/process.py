"""`novapulse process …`: what the supervisor starts. Not for people."""

import click


@click.command(hidden=True)
@click.argument(
    "role",
    type=click.Choice(
        [
            *("api", "consumer", "scheduler", "caretaker", "migrate"),
            *("redis_server", "fork_server"),
        ]
    ),
)
@click.argument("arguments", nargs=-1)
def process(role: str, arguments: tuple[str, ...]) -> None:
    """Be one process of the appliance."""
    if role == "redis_server":  # has no link to the supervisor: it becomes another program
        from novapulse.processes import redis_server

        redis_server.main(*arguments)
        return
    if role == "fork_server":
        from novapulse.processes import fork_server

        fork_server.main(*arguments)
        return
    from novapulse.processes import entry

    entry.run_child(role, *arguments)
