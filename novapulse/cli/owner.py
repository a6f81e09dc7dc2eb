"""Root acts as the user whose program it is: what root made, that user could not write again."""

import grp
import os
import pwd
from pathlib import Path

# What root could read anyway, and the program's user can not.
_KEPT_GROUPS = ("systemd-journal", "adm")


def act_as_owner_of(state: Path) -> None:
    """Become the user whom the state directory belongs to, if that is somebody else than root.

    Does nothing for anybody but root, and nothing where there is no such directory.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = state.stat().st_uid
        account = pwd.getpwuid(owner)
    except (OSError, KeyError):
        return
    if owner == 0:
        return
    kept = [group.gr_gid for group in grp.getgrall() if group.gr_name in _KEPT_GROUPS]
    os.setgroups([*os.getgrouplist(account.pw_name, account.pw_gid), *kept])
    os.setgid(account.pw_gid)
    os.setuid(owner)
    os.environ["HOME"] = account.pw_dir
