"""The documents against the program: what exists is documented, and what is documented exists."""

import base64
import hashlib
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase

import novapulse
from novapulse.cli.outcome import INTERRUPTED
from novapulse.cli.program import program
from novapulse.core import exitcodes, problem
from novapulse.core.access import Principal, Role, Scope
from novapulse.core.errors import Error
from novapulse.core.events import CATALOGUE, INTERNAL, Event
from novapulse.core.settings.tree import DECLARATIONS, SECTIONS
from novapulse.core.telemetry import metrics
from novapulse.processes import gauges
from novapulse.subscriptions.signing import new_secret, sign

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`([^`]+)`")


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def fenced(page: Path, language: str) -> list[str]:
    """The code of a page's blocks in one language."""
    return [code for kind, code in FENCE.findall(page.read_text()) if kind == language]


def rows(page: str, first_column: str) -> Iterator[list[str]]:
    """The cells of every row of the page's tables that are headed by `first_column`."""
    is_inside = False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            is_inside = False
        elif cells[0] == first_column:
            is_inside = True
        elif is_inside and set(cells[0]) - set("-: "):
            yield cells


@pytest.fixture(scope="module")
def _everything_is_imported() -> None:
    """Events and errors are known once the modules that declare them are imported."""
    for module in pkgutil.walk_packages(novapulse.__path__, "novapulse."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def test_every_setting_is_documented():
    page = (DOCS / "reference" / "configuration.md").read_text()
    sections = {part.partition("]")[0]: part for part in page.split("\n## [")[1:]}
    missing = []
    for name in DECLARATIONS:
        section, _, key = name.rpartition(".")
        if f"| `{key}` |" not in sections.get(section, ""):
            missing.append(name)
    assert missing == []
    assert set(sections) == set(SECTIONS)


def verbs(group: click.Group, above: str = "novapulse") -> Iterator[tuple[str, click.Command]]:
    """Every verb that people use, with its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from verbs(command, f"{above} {name}")
        else:
            yield f"{above} {name}", command


def options_of(command: click.Command) -> set[str]:
    found = {text for one in command.params if isinstance(one, click.Option) for text in one.opts}
    return {text for text in found if text.startswith("--")} | {"--help"}


EVERYWHERE = {"--root", "--config", "--quiet", "--verbose", "--help"}


def test_every_verb_is_documented_with_its_options():
    page = (DOCS / "reference" / "cli.md").read_text()
    parts = re.split(r"^### `(.+)`$", page.partition("\n## Exit codes")[0], flags=re.MULTILINE)
    documented = dict(zip(parts[1::2], parts[2::2], strict=True))
    present = dict(verbs(program))
    assert set(documented) == set(present)
    for name, command in present.items():
        bullets = re.findall(r"^- (`-[^:]+):", documented[name], re.MULTILINE)
        told = set(re.findall(r"`(--[a-z-]+)", " ".join(bullets)))
        assert told == options_of(command) - EVERYWHERE, name


def test_every_exit_code_is_documented():
    documented = {int(row[0]) for row in rows("reference/cli.md", "code")}
    usage = 2  # click's own
    named = {exitcodes.OK, exitcodes.DEGRADED, exitcodes.BUG, usage, INTERRUPTED}
    assert documented == named | set(exitcodes.EXIT_CODES.values())


def test_every_metric_is_documented_with_its_labels():
    documented = {
        NAME.findall(row[0])[0]: (row[1], set(NAME.findall(row[2])))
        for row in rows("reference/metrics.md", "metric")
    }
    declared = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    expected = {}
    for one in declared:
        name = f"{one._name}_total" if one._type == "counter" else one._name
        expected[name] = (one._type, set(one._labelnames))
    for name, (kind, _) in gauges.HELP.items():  # the supervisor's own, which declare no labels
        expected[name] = (kind, documented.get(name, ("", set[str]()))[1])
    assert documented == expected


@pytest.mark.usefixtures("_everything_is_imported")
@pytest.mark.parametrize(("column", "kinds"), [("type", CATALOGUE), ("type in the log", INTERNAL)])
def test_every_event_type_is_documented(column: str, kinds: dict[str, type[Event]]):
    documented = {
        NAME.findall(row[0])[0]: NAME.findall(row[1])[0]
        for row in rows("reference/events.md", column)
    }
    assert documented == {name: kind.resource for name, kind in kinds.items()}


def subclasses(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for one in kind.__subclasses__():
        if one.__module__.partition(".")[0] == "novapulse":
            yield from subclasses(one)


def status_of(kind: type[Error]) -> int | None:
    """The status that an error of this class is answered with; None: it never is."""
    return next((problem.STATUS[one] for one in kind.__mro__ if one in problem.STATUS), None)


@pytest.mark.usefixtures("_everything_is_imported")
def test_every_problem_code_is_documented_with_its_status():
    answered = {
        NAME.findall(row[0])[0]: int(row[1])
        for row in rows("reference/api.md", "code")
        if len(row) == 3
    }
    others = {NAME.findall(row[0])[0] for row in rows("reference/api.md", "code") if len(row) == 2}
    statuses = {kind.code: status_of(kind) for kind in subclasses(Error)}
    assert answered.pop("internal_error") == 500
    assert set(answered) | others == set(statuses)
    assert not set(answered) & others
    assert answered == {code: statuses[code] for code in answered}


def reach(scope: Scope, role: Role) -> str:
    """A cell of the table: how far the scope reaches for this role."""
    is_operator = role is Role.SUPER_ADMIN
    if is_operator:
        granted = Principal(user_id="u", role=role, is_operator=True).grant(scope)
        acting = Principal(user_id="u", role=role, company_id="c", is_operator=True).grant(scope)
        if granted is None and acting is not None:
            return "header"
    else:
        granted = Principal(user_id="u", role=role, company_id="c").grant(scope)
    return "–" if granted is None else str(granted)


def test_the_table_of_roles_is_the_one_that_is_enforced():
    documented = {
        NAME.findall(row[0])[0]: row[1:] for row in rows("concepts/tenancy-and-roles.md", "scope")
    }
    assert documented == {str(scope): [reach(scope, role) for role in Role] for scope in Scope}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_every_page_can_be_reached_from_the_readme():
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        if page.is_dir():
            waiting += page.glob("*.md")
            continue
        for target in LINK.findall(page.read_text()):
            found = (page.parent / target.partition("#")[0]).resolve()
            if found.suffix == ".md" or found.is_dir():
                waiting += [found] if found.exists() else []
    assert [str(page.relative_to(ROOT)) for page in pages() if page not in reached] == []


def calls(page: Path) -> Iterator[list[str]]:
    """Every call of the program in a page's shell blocks, without what the shell takes out."""
    for block in [*fenced(page, "sh"), *fenced(page, "console")]:
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.findall(r"(?:\.venv/bin/)novapulse( [^|&;()<>]*)", line):
                yield shlex.split(found, comments=True)


def find_verb(words: list[str]) -> tuple[click.Command, list[str]]:
    """The verb that the words start with, and the rest; fails for what is none."""
    command: click.Command = program
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no verb {name}"
        command = found
    return command, rest


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_documents_name_verbs_and_options_that_exist(page: Path):
    for words in calls(page):
        command, rest = find_verb(words)
        known = options_of(command) | ({"--version"} if command is program else set())
        unknown = {word.partition("=")[0] for word in rest if word.startswith("-")} - known
        assert not unknown, f"{shlex.join(words)}: {unknown}"


def test_commands_are_found_where_there_are_some():
    assert len(list(calls(DOCS / "operations" / "runbook.md"))) > 5
    with pytest.raises(AssertionError):
        find_verb(["rnu", "--root", "x"])


@pytest.mark.parametrize(
    "page", sorted((ROOT / "novapulse").rglob("VENDORED.md")), ids=lambda page: page.parent.name
)
def test_what_is_not_ours_is_what_its_page_says(page: Path):
    named = re.findall(r"^\| `(.+)` \| `([0-9a-f]{64})` \|$", page.read_text(), re.MULTILINE)
    assert named
    for name, digest in named:
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() == digest, name


ADRS = sorted((DOCS / "adr").glob("*.md"))


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
def test_a_decision_has_the_form_of_the_first_one(page: Path):
    text = page.read_text()
    number = page.stem.partition("-")[0]
    assert text.startswith(f"# {number}. ")
    assert re.search(
        r"^\*\*Status:\*\* (proposed|accepted|replaced by \d{4}), \d{4}-\d\d$", text, re.M
    )
    headings = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == headings
    for path in re.findall(r"`((?:tests|novapulse|docs)/[^`]*)`", text):
        assert (ROOT / path).exists(), path


def test_decisions_have_numbers_of_their_own():
    numbers = [page.name.partition("-")[0] for page in ADRS]
    assert len(numbers) == len(set(numbers))


GUIDE = DOCS / "guides" / "receiving-webhooks.md"


class Delivery:
    """What a receiver gets of a delivery that was signed just now."""

    def __init__(self) -> None:
        self.secret = new_secret()
        self.body = '{"id":"evt_1","event":"task.created","data":{"title":"Ä\\n"}}'.encode()
        signed = sign([self.secret], event_id="evt_1", timestamp=int(time.time()), body=self.body)
        self.headers = {name.lower(): value for name, value in signed.items()}

    def variants(self) -> Iterator[tuple[str, bytes, dict[str, str], bool]]:
        """`(secret, body, headers, whether it is good)`."""
        yield self.secret, self.body, self.headers, True
        yield self.secret, self.body + b" ", self.headers, False
        yield new_secret(), self.body, self.headers, False
        yield self.secret, self.body, {}, False
        nonsense = dict.fromkeys(self.headers, "sha256=ä v1,ä")
        yield self.secret, self.body, nonsense, False


def old_delivery(delivery: Delivery) -> dict[str, str]:
    """The headers of a request that somebody kept for an hour."""
    then = int(time.time()) - 3_600
    signed = sign([delivery.secret], event_id="evt_1", timestamp=then, body=delivery.body)
    return {name.lower(): value for name, value in signed.items()}


def test_the_python_sample_verifies_a_delivery():
    (code,) = fenced(GUIDE, "python")
    sample: dict[str, Any] = {}
    exec(compile(code, str(GUIDE), "exec"), sample)  # noqa: S102 - it is our own page
    delivery = Delivery()
    for check in (sample["is_signed"], sample["is_fresh_and_signed"]):
        for secret, body, headers, is_good in delivery.variants():
            ascii_only = {name: text.replace("ä", "a") for name, text in headers.items()}
            assert check(secret, body, ascii_only) is is_good
    assert not sample["is_fresh_and_signed"](delivery.secret, delivery.body, old_delivery(delivery))
    with_others = {**delivery.headers}
    with_others["webhook-signature"] = f"v1,AAAA {with_others['webhook-signature']} v2,x"
    assert sample["is_fresh_and_signed"](delivery.secret, delivery.body, with_others)


DRIVER = """
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(([secret, body, headers]) => {
  const raw = Buffer.from(body, "base64");
  return [isSigned(secret, raw, headers), isFreshAndSigned(secret, raw, headers)];
})));
"""


@pytest.mark.skipif(
    shutil.which("node") is None, reason="NOT TESTED: the JavaScript sample needs node, not here"
)
def test_the_javascript_sample_verifies_a_delivery():
    (code,) = fenced(GUIDE, "js")
    delivery = Delivery()
    cases = list(delivery.variants())
    cases.append((delivery.secret, delivery.body, old_delivery(delivery), False))
    given = [
        (secret, base64.b64encode(body).decode(), headers) for secret, body, headers, _ in cases
    ]
    done = subprocess.run(
        ["node", "-e", code + DRIVER],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain, fresh = zip(*json.loads(done.stdout), strict=True)
    assert list(fresh) == [is_good for *_, is_good in cases]
    assert list(plain[:-1]) == [is_good for *_, is_good in cases[:-1]]


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="NOT TESTED: the shell sample needs openssl, not here"
)
def test_the_shell_samples_verify_a_delivery(tmp_path: Path):
    samples = fenced(GUIDE, "sh")
    assert len(samples) == 2
    delivery = Delivery()
    for number, (secret, body, headers, is_good) in enumerate(delivery.variants()):
        kept = tmp_path / f"body-{number}"
        kept.write_bytes(body)
        for sample in samples:
            assert ("The signature is good" in shell(sample, secret, headers, kept)) is is_good


def shell(sample: str, secret: str, headers: dict[str, str], body: Path) -> str:
    """What a sample says about one request."""
    variables = {
        "SECRET": secret,
        "BODY_FILE": str(body),
        "SIGNATURE": headers.get("x-novapulse-signature", ""),
        "WEBHOOK_ID": headers.get("webhook-id", ""),
        "WEBHOOK_TIMESTAMP": headers.get("webhook-timestamp", ""),
        "WEBHOOK_SIGNATURE": headers.get("webhook-signature", ""),
    }
    done = subprocess.run(
        ["sh", "-uc", sample],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout
