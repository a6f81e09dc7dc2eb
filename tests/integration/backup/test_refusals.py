"""What is not as it was written is refused, and the target stays as it was."""

import io
import tarfile
from pathlib import Path

import pytest

from novapulse.backup.model import BackupDamaged, TargetNotEmpty, WrongPassphrase
from novapulse.core.errors import AlreadyRunning, Error, Invalid
from novapulse.core.migrate import SchemaTooNew
from novapulse.processes import attach
from novapulse.processes.belongings import KeysGone
from tests.support.backups import Installation, Installations


def state_of(target: Installation) -> tuple[dict[str, int], set[str]]:
    """What may not change: rows and files."""
    files = {str(path.relative_to(target.root)) for path in target.root.rglob("*")}
    return target.counts, files - {"state", "state/lock", "run", "log"}


def refuse(target: Installation, path: Path, kind: type[Error], **wanted: object) -> Error:
    before = state_of(target)
    with pytest.raises(kind) as caught:
        target.restore(path, **wanted)
    assert state_of(target) == before
    return caught.value


def changed(made: Path, to: Path, at: float) -> Path:
    data = bytearray(made.read_bytes())
    data[int(len(data) * at)] ^= 0x40
    to.write_bytes(data)
    return to


def test_one_flipped_byte_is_refused_wherever_it_is(
    untouched: Installation, made: Path, tmp_path: Path
):
    with tarfile.open(made) as tar:
        places = [member.offset_data + member.size // 2 for member in tar]
        places += [member.offset + offset for member in tar for offset in (3, 130)]
    size = made.stat().st_size
    for at in places:
        bad = changed(made, tmp_path / "bad.tar", at / size)
        refuse(untouched, bad, BackupDamaged)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(
    untouched: Installation, made: Path, tmp_path: Path, share: float
):
    cut = tmp_path / "cut.tar"
    data = made.read_bytes().rstrip(b"\0")
    cut.write_bytes(data[: int(len(data) * share)])
    refuse(untouched, cut, BackupDamaged)


def test_a_wrong_passphrase_is_refused(untouched: Installation, made: Path):
    refuse(untouched, made, WrongPassphrase, passphrase=b"another horse battery")


@pytest.mark.parametrize("name", ["../escaped", "data/../../escaped", "/tmp/escaped"])
def test_a_member_that_leads_out_is_refused(
    untouched: Installation, made: Path, tmp_path: Path, name: str
):
    bad = tmp_path / "bad.tar"
    with tarfile.open(made) as old, tarfile.open(bad, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        evil = tarfile.TarInfo(name)
        evil.size = 4
        new.addfile(evil, io.BytesIO(b"evil"))
    refuse(untouched, bad, BackupDamaged)


def rewritten(made: Path, to: Path, *, without: str = "", **replaced: bytes) -> Path:
    """The backup with other members; nothing else is corrected."""
    with tarfile.open(made) as old, tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            if member.name == without:
                continue
            reader = old.extractfile(member)
            assert reader is not None
            data = replaced.get(member.name.replace(".", "_"), reader.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return to


def test_a_manifest_that_somebody_else_wrote_is_refused(
    untouched: Installation, made: Path, tmp_path: Path
):
    with tarfile.open(made) as tar:
        reader = tar.extractfile("manifest.json")
        assert reader is not None
        text = reader.read()
    foreign = text.replace(b'"program":"0', b'"program":"9')
    assert foreign != text
    bad = rewritten(made, tmp_path / "bad.tar", manifest_json=foreign)
    refuse(untouched, bad, BackupDamaged)
    refuse(untouched, rewritten(made, bad, without="seal.json"), BackupDamaged)
    unsealed = text.replace(b'"secrets":"sealed"', b'"secrets":"left out"')
    # Whoever takes the seal away makes it a backup without one: not with our passphrase.
    bad = rewritten(made, bad, without="seal.json", manifest_json=unsealed)
    refuse(untouched, bad, WrongPassphrase)


def test_a_target_with_data_is_refused(target: Installation, made: Path):
    target.rows.tasks.insert_one({"_id": "mine"})
    error = refuse(target, made, TargetNotEmpty)
    assert "mongo.database" in str(getattr(error, "hint", ""))
    assert target.rows.tasks.find_one() == {"_id": "mine"}


@pytest.mark.parametrize("name", ["events", "audit_heads", "jobs"])
def test_a_company_s_line_of_the_audit_log_and_its_job_are_data(
    target: Installation, made: Path, name: str
):
    target.rows[name].insert_many([{"companyId": "platform"}, {"companyId": "acme"}])
    refuse(target, made, TargetNotEmpty)


def test_the_rows_that_every_start_makes_are_no_data(target: Installation, made: Path):
    target.rows.schema.insert_one({"_id": "schema", "number": 1})
    target.rows.leases.insert_one({"_id": "scheduler"})
    target.rows.create_collection("tasks")
    target.rows.backups.insert_one({"_id": "asked"})
    target.rows.alerts.insert_one({"_id": "DiskFilling"})
    # Of the backup that its timer made, of nothing.
    target.rows.events.insert_one({"_id": "evt_1", "companyId": "platform"})
    target.rows.audit_heads.insert_one({"_id": "platform", "companyId": "platform"})
    # Of the alert that was mailed, to one address in vain.
    mail = {"kind": "mail.send", "companyId": "platform"}
    target.rows.jobs.insert_many([{**mail, "state": state} for state in ("completed", "dead")])
    target.rows.job_claims.insert_one({"_id": "clm_1", "queue": "email"})
    target.rows.mail_suppressions.insert_one({"_id": "ada@example.com"})
    machinery = {"leases", "backups", "alerts", "audit_heads"}
    machinery |= {"jobs", "job_claims", "mail_suppressions"}
    assert machinery <= set(target.counts)
    assert target.restore(made) is not None
    assert machinery & set(target.counts) == set()
    assert [line["type"] for line in target.rows.events.find()] == ["backup.restored"]


def test_a_backup_s_rows_take_the_place_of_those_that_a_start_made(
    installations: Installations, target: Installation
):
    former = installations.make("former")
    former.rows.backups.insert_one({"_id": "asked", "of": "former"})
    made = former.create()
    target.rows.backups.insert_one({"_id": "asked", "of": "target"})
    assert target.restore(made) is not None
    assert list(target.rows.backups.find()) == [{"_id": "asked", "of": "former"}]


def test_a_running_installation_is_refused(untouched: Installation, made: Path):
    with attach.alone(untouched.loaded()):
        refuse(untouched, made, AlreadyRunning)


def test_a_backup_of_a_newer_schema_is_refused(
    installations: Installations, source: Installation, untouched: Installation
):
    newer = installations.make("newer")
    newer.rows.schema.insert_one({"_id": "schema", "number": 4_711})
    refuse(untouched, newer.create(), SchemaTooNew)


def test_a_backup_whose_keys_stay_closed_needs_them_in_place(target: Installation, made: Path):
    error = refuse(target, made, KeysGone, passphrase=None)
    assert "--without-keys" in str(getattr(error, "hint", ""))
    assert target.restore(made, passphrase=None, without_keys=True) is not None


def test_a_name_that_is_none_is_refused(untouched: Installation, made: Path):
    own = untouched.loaded().settings.mongo.database
    for name in ("admin", "a/b", "", own):
        refuse(untouched, made, Invalid, database=name)


def test_who_says_no_changes_nothing(untouched: Installation, made: Path):
    from novapulse.processes.restoring import Wanted, restore

    before, asked = state_of(untouched), []
    wanted = Wanted(path=made, passphrase=None, database=None, without_keys=True)

    def agree(deed: str) -> bool:
        asked.append(deed)
        return False

    answer = restore(untouched.loaded, wanted, agree=agree, progress=lambda documents, size: None)
    assert answer is None
    assert state_of(untouched) == before
    assert "documents of 20" in asked[0]
