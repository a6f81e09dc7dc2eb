"""`novapulse config` as a person and as a script see it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from novapulse.cli.config import config
from novapulse.core.settings.sources import ALIASES


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name in ALIASES or name.startswith(("NOVAPULSE", "JWT_")):
            monkeypatch.delenv(name)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(config, [str(argument) for argument in arguments])


def test_check_accepts_a_good_file(root: Path) -> None:
    (root / "config.toml").write_text("[server]\nprocesses = 1\n")
    result = run("check", "--root", root)
    assert result.exit_code == 0
    assert result.stdout == f"{root / 'config.toml'}: ok\n"
    assert result.stderr == ""


def test_check_says_every_problem_in_three_lines_and_ends_with_78(root: Path) -> None:
    (root / "config.toml").write_text("[server]\nlistn = 'a:1'\nprocesses = 0\n")
    result = run("check", "--root", root)
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[:3] == [
        "error: server.listn is not a setting",
        f" where: {root / 'config.toml'}:2",
        "   try: did you mean server.listen?",
    ]
    assert len(lines) == 6


def test_check_warns_of_a_file_that_everybody_may_read(root: Path) -> None:
    (root / "config.toml").write_text("[redis]\nurl = 'redis://:canary@h'\n")
    (root / "config.toml").chmod(0o644)
    result = run("check", "--root", root)
    assert result.exit_code == 0
    assert "warning:" in result.stderr
    assert "canary" not in result.stderr


def test_check_answers_scripts_in_json(root: Path) -> None:
    document = json.loads(run("check", "--json", "--root", root).stdout)
    assert (document["schema"], document["ok"]) == (1, True)
    (root / "config.toml").write_text("x = 1")
    result = run("check", "--json", "--root", root)
    document = json.loads(result.stdout)
    assert result.exit_code == 78
    assert (document["schema"], document["code"]) == (1, "configuration_invalid")
    assert document["problems"][0]["where"].endswith("config.toml:1")


def test_show_tells_values_and_origins(root: Path) -> None:
    (root / "config.toml").write_text("[server]\nprocesses = 3\n")
    assert "server.processes = 3\n" in run("show", "--root", root).stdout
    line = next(
        line
        for line in run("show", "--origin", "--root", root).stdout.splitlines()
        if line.startswith("server.processes")
    )
    assert line.endswith(f"# {root / 'config.toml'}:2")


def test_show_stars_passwords_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix://u:canary@/s?password=canary&db=1")
    monkeypatch.setenv("MONGO_URI", "mongodb://u:can%40ary@h/?tlsCertificateKeyFilePassword=canary")
    monkeypatch.setenv("JWT_ACCESS_SECRET", "canary" * 10)
    for arguments in (("show",), ("show", "--origin"), ("show", "--json"), ("explain", "redis")):
        result = run(*arguments, "--root", root)
        assert result.exit_code == 0
        assert "canary" not in result.output
        assert "can%40ary" not in result.output
        assert "***" in result.stdout


def test_show_json_is_the_tree(root: Path) -> None:
    document = json.loads(run("show", "--json", "--origin", "--root", root).stdout)
    assert document["schema"] == 1
    assert document["settings"]["rate_limits"]["general"] == "100/minute"
    assert document["settings"]["queues"]["email"]["concurrency"] == 5
    assert document["settings"]["server"]["trusted_proxies"] == []
    assert document["origins"]["server.listen"] == "default"
    assert document["paths"]["state"] == str(root / "state")


def test_explain_works_also_with_a_broken_file(root: Path) -> None:
    (root / "config.toml").write_text("[")
    result = run("explain", "server.listen", "--root", root)
    assert result.exit_code == 0
    assert "NOVAPULSE__SERVER__LISTEN" in result.stdout
    assert "binds anew" in result.stdout


def test_explain_of_an_unknown_key_names_the_nearest(root: Path) -> None:
    result = run("explain", "server.listn", "--root", root)
    assert result.exit_code == 66
    assert "did you mean server.listen?" in result.stderr


def test_config_names_another_file(root: Path) -> None:
    file = root / "other.toml"
    assert run("check", "--config", file).exit_code == 78
    file.write_text("")
    assert run("check", "--config", file).exit_code == 0


def test_root_and_config_together_are_a_usage_error(root: Path) -> None:
    assert run("check", "--root", root, "--config", "x").exit_code == 2
    assert run("check", "--root", "").exit_code == 2


def test_help_imports_no_framework() -> None:
    code = (
        "import sys; from novapulse.cli.config import config\n"
        "config(['show', '--help'], standalone_mode=False)\n"
        "print(sorted({'starlette', 'pymongo', 'redis', 'aiohttp', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=Path(__file__).parents[4],
    )
    assert result.stdout.rstrip().endswith("[]")
