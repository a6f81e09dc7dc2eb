"""What is said of a passphrase that is not there."""

from pathlib import Path

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.processes.backups import read_passphrase


def hint_for(file: Path) -> str:
    with pytest.raises(ConfigurationInvalid, match=f"There is no file {file}") as caught:
        read_passphrase(file)
    return caught.value.hint


def test_whoever_types_a_backup_is_told_how_to_come_by_the_unit_s_passphrase():
    """Its file is there while the unit runs, and for nobody else."""
    told = hint_for(Path("/run/credentials/novapulse-nowhere.service/backup-passphrase"))
    assert "systemctl start novapulse-nowhere, or --passphrase-file" in told


def test_a_passphrase_elsewhere_is_just_missing(tmp_path: Path):
    assert hint_for(tmp_path / "passphrase") == ""
