"""`novapulse config`: check the configuration, show it, explain a key."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.listing import as_json_option
from novapulse.cli.options import Location, location_options
from novapulse.cli.talk import say

if TYPE_CHECKING:
    from novapulse.core.errors import ConfigurationInvalid
    from novapulse.core.settings import Loaded
    from novapulse.core.settings.declare import Declaration

_CONFIGURATION = 78
_NO_SUCH_THING = 66


@click.group()
def config() -> None:
    """Check, show, compare and explain the configuration."""


@config.command()
@as_json_option
@location_options
def check(location: Location, as_json: bool) -> None:
    """Say whether the program could start with this configuration."""
    loaded = _load_or_exit(location, as_json=as_json)
    file = loaded.paths.config_file
    if as_json:
        _print_json({"ok": True, "config_file": str(file), "warnings": loaded.warnings})
        return
    _print_warnings(loaded)
    click.echo(f"{file}: ok" if file.exists() else f"{file}: not there, every default is ok")


@config.command()
@click.option("--origin", is_flag=True, help="Say where every value comes from.")
@as_json_option
@location_options
def show(location: Location, origin: bool, as_json: bool) -> None:
    """Print every setting with its value; passwords are starred out."""
    from novapulse.core.settings.render import toml_value

    loaded = _load_or_exit(location, as_json=as_json)
    values = _shown_values(loaded)
    if as_json:
        paths = {name: str(getattr(loaded.paths, name)) for name in loaded.paths.__struct_fields__}
        document: dict[str, object] = {"settings": _nested(values), "paths": paths}
        if origin:
            document["origins"] = loaded.origins
        _print_json({**document, "warnings": loaded.warnings})
        return
    _print_warnings(loaded)
    lines = {name: f"{name} = {toml_value(value)}" for name, value in values.items()}
    width = max(map(len, lines.values()))
    for name, line in lines.items():
        click.echo(f"{line:<{width}}  # {loaded.origins[name]}" if origin else line)


@config.command()
@as_json_option
@location_options
def diff(location: Location, as_json: bool) -> None:
    """Say what a reload would change: exit 0 nothing, 1 something, 69 when nothing runs."""
    from novapulse.cli.reload import print_changes
    from novapulse.cli.remote import ask

    changes = ask(location, "reload", progress=say, dryRun=True)["changes"]
    if as_json:
        _print_json({"changes": changes})
    else:
        print_changes(changes)
    if not changes:
        say("what runs is what the configuration says")
    sys.exit(1 if changes else 0)


@config.command()
@click.argument("key")
@as_json_option
@location_options
def explain(location: Location, key: str, as_json: bool) -> None:
    """Say what KEY means (a setting such as server.listen, or a section)."""
    from novapulse.core.settings.tree import DECLARATIONS, SECTIONS

    keys = [name for name in DECLARATIONS if name == key or name.startswith(key + ".")]
    if not keys:
        _exit_unknown(key, as_json=as_json)
    now = _current(location)
    facts = [_facts(DECLARATIONS[name], now) for name in keys]
    if as_json:
        _print_json({"keys": facts})
        return
    if key in SECTIONS:
        click.echo(f"[{key}] {SECTIONS[key]}\n")
    click.echo("\n\n".join(map(_paragraph, facts)))


def _load_or_exit(location: Location, *, as_json: bool) -> "Loaded":
    from novapulse.core.errors import ConfigurationInvalid

    try:
        return location.load()
    except ConfigurationInvalid as error:
        _print_problems(error, as_json=as_json)
        sys.exit(_CONFIGURATION)


def _print_problems(error: "ConfigurationInvalid", *, as_json: bool) -> None:
    from novapulse.cli.outcome import problem
    from novapulse.core.settings import Problem, SettingsInvalid

    problems = (
        error.problems
        if isinstance(error, SettingsInvalid)
        else (Problem("", error.detail, error.where, error.hint),)
    )
    if as_json:
        _print_json({**problem(error), "ok": False})
        return
    for one in problems:
        _print_error(one.detail, one.where, one.hint)


def _print_error(what: str, where: str, hint: str) -> None:
    """The three lines of every error: what, where it comes from, what to try."""
    click.echo(f"error: {what}\n where: {where}\n   try: {hint}", err=True)


def _print_warnings(loaded: "Loaded") -> None:
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


def _print_json(document: Mapping[str, object]) -> None:
    click.echo(json.dumps({"schema": 1, **document}, indent=2, ensure_ascii=False))


def _exit_unknown(key: str, *, as_json: bool) -> None:
    from novapulse.core.settings.problems import nearest
    from novapulse.core.settings.tree import DECLARATIONS, SECTIONS

    what = f"{key!r} is not a setting"
    meant = nearest(key[:80], [*DECLARATIONS, *SECTIONS])
    hint = f"did you mean {meant}?" if meant else "novapulse config show lists all settings"
    if as_json:
        _print_json({"title": "There is no such thing", "code": "not_found", "detail": what})
    else:
        _print_error(what, "the command line", hint)
    sys.exit(_NO_SUCH_THING)


def _shown_values(loaded: "Loaded") -> dict[str, object]:
    """Full names to values that are safe on a screen; rates as people write them."""
    from novapulse.core.settings.rates import Rate
    from novapulse.core.settings.redact import shown
    from novapulse.core.settings.tree import DECLARATIONS, values_of

    flat = values_of(loaded.settings)
    values = {name: shown(DECLARATIONS[name], value) for name, value in flat.items()}
    return {name: str(v) if isinstance(v, Rate) else v for name, v in values.items()}


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, key = name.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = value
    return tree


def _current(location: Location) -> "Loaded | None":
    """The configuration in force, or None: a broken one must not hide the explanation."""
    from novapulse.core.errors import ConfigurationInvalid

    try:
        return location.load()
    except ConfigurationInvalid:
        return None


def _facts(declaration: "Declaration", now: "Loaded | None") -> dict[str, object]:
    from novapulse.core.settings.render import describe, toml_value

    value, origin = "", "unknown: novapulse config check says why"
    if now is not None:
        value = toml_value(_shown_values(now)[declaration.name])
        origin = now.origins[declaration.name]
    return {
        "key": declaration.name,
        "help": declaration.key.help,
        "type": describe(declaration),
        "default": toml_value(declaration.default),
        "reload": str(declaration.key.reload),
        "environment": declaration.environment_name,
        "value": value,
        "origin": origin,
    }


def _paragraph(facts: Mapping[str, object]) -> str:
    rows = [f"{facts['key']}", f"  {facts['help']}"]
    names = ("type", "default", "reload", "environment", "value", "origin")
    rows.extend(f"  {name:<12} {facts[name]}" for name in names if facts[name] != "")
    return "\n".join(rows)
