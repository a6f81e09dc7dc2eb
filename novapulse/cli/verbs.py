"""The verbs, and the list of them that `--help` prints at once, before click is loaded."""

import os
import sys

ABOUT = "NovaPulse: a self-hosted work-and-webhook platform in one program."
_WIDE_ENOUGH = 80
# Verb → its module, imported when the verb is asked for, and what the list of verbs says of it.
# `process` is for the supervisor and not listed.
VERBS = {
    "audit": ("audit", "Verify and export the log of who did what."),
    "backup": ("backup", "Make, list, verify, try and restore backups."),
    "check": ("check", "Answer one question by the exit code: live, ready, stores."),
    "company": ("company", "Companies of this installation."),
    "completion": ("completion", "Print the script that completes verbs in a shell."),
    "config": ("config", "Check, show, compare and explain the configuration."),
    "demo": ("demo", "Fill a new company and keep it at work, to look at."),
    "doctor": ("doctor", "Look for what is wrong, why, and how to mend it."),
    "drain": ("drain", "Take this appliance out of service while it runs."),
    "init": ("init", "Make a directory a root, with a commented config.toml."),
    "job": ("job", "Look at, retry or cancel one background job."),
    "keys": ("keys", "Check and rotate the keys that seal and sign."),
    "logs": ("logs", "Show what the processes wrote, or one request's story."),
    "mail": ("mail", "Try the mail server, read the spool, free addresses."),
    "metrics": ("metrics", "Print what Prometheus would get."),
    "migrate": ("migrate", "The schema of the database: where it stands; up."),
    "process": ("process", ""),
    "queue": ("queue", "List, pause, resume, retry and clear queues of jobs."),
    "reload": ("reload", "Put a changed configuration in force, without a gap."),
    "restart": ("restart", "Replace processes one after the other, without a gap."),
    "run": ("run", "Run everything in the foreground, until it is stopped."),
    "scale": ("scale", "Have more or fewer processes of a role."),
    "setup-token": ("setup_token", "Print the token that founding the first company needs."),
    "status": ("status", "Say how it is and what to do next."),
    "stop": ("stop", "Stop it in order and wait for the end."),
    "support": ("support", "Collect what others need to help you."),
    "token": ("token", "Make API tokens."),
    "upgrade": ("upgrade", "Put another release in place, or go back."),
    "user": ("user", "Create, list, lock out and help accounts."),
    "verify-install": ("verify_install", "Compare every installed file with its release."),
    "version": ("version", "Print the version."),
    "webhook": ("webhook", "List, test and replay webhooks; a receiver to try them."),
}


def show_help() -> bool:
    """Print what click would, in a quarter of the time; False where that is click's to do.

    In a narrow terminal it breaks the lines, and what can not be written is for `outcome`.
    """
    if sys.stdout is None or _width() < _WIDE_ENOUGH:
        return False
    try:
        sys.stdout.write(help_text())
        sys.stdout.flush()
    except OSError:
        return False
    return True


def help_text() -> str:
    """As click renders it where no line has to be broken."""
    listed = {verb: text for verb, (_, text) in VERBS.items() if text}
    wide = max(map(len, listed))
    lines = (
        *("Usage: novapulse [OPTIONS] COMMAND [ARGS]...", "", f"  {ABOUT}", ""),
        *("Options:", "  --version  Show the version and exit."),
        *("  --help     Show this message and exit.", "", "Commands:"),
        *(f"  {verb:<{wide}}  {text}" for verb, text in listed.items()),
    )
    return "\n".join(lines) + "\n"


def _width() -> int:
    """As shutil tells click."""
    try:
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        return _WIDE_ENOUGH
