"""The user and group of a process, and the file that holds its number."""

from __future__ import annotations

import os
from contextlib import suppress

from gevent.serve.errors import ServeError, reason


def user_and_group(user: str | None, group: str | None) -> tuple[int | None, int | None, str]:
    """Return the numbers of a user and group, each None if not given, and the user's name.

    A user that is given without a group comes with its own primary group.

    :raises ServeError: There is no such user or group.
    """
    # Loaded only where they are needed: they may open connections to a directory service.
    import grp
    import pwd

    uid = gid = None
    name = ""
    if user is not None:
        try:
            found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            uid, gid, name = found.pw_uid, found.pw_gid, found.pw_name
        except KeyError:
            if not user.isdigit():
                raise ServeError(f"there is no user {user}") from None
            uid = int(user)
    if group is not None:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise ServeError(f"there is no group {group}") from None
    return uid, gid, name


def become(user: str | None, group: str | None) -> None:
    """Change this process to *user* and *group*, for good.

    :raises ServeError: There is no such user or group, or this process may not change to it.
    """
    if user is None and group is None:
        return
    uid, gid, name = user_and_group(user, group)
    try:
        if gid is not None and gid != os.getegid():
            if name:
                os.initgroups(name, gid)
            elif os.geteuid() == 0:
                os.setgroups([gid])
            os.setresgid(gid, gid, gid)
        if uid is not None and uid != os.geteuid():
            os.setresuid(uid, uid, uid)
    except OSError as error:
        who = " and ".join(
            f"{kind} {value}" for kind, value in (("user", user), ("group", group)) if value
        )
        raise ServeError(f"cannot become {who}: {reason(error)}") from error


class PidFile:
    """A file with the number of this process. It is removed at the end if it still has that.

    :raises ServeError: The file cannot be written, or names another process that runs.
    """

    def __init__(self, path: str) -> None:
        self.path: str = os.path.abspath(path)
        other = self._read()
        if other and other != os.getpid() and _runs(other):
            raise ServeError(f"cannot write {path}: process {other} is already running")
        # The file is replaced and not written to, so a reader finds either the old number or the
        # whole new one.
        new = f"{self.path}.{os.getpid()}"
        try:
            with open(new, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.replace(new, self.path)
        except OSError as error:
            raise ServeError(f"cannot write {path}: {reason(error)}") from error

    def _read(self) -> int:
        with suppress(OSError, ValueError), open(self.path) as file:
            return int(file.read())
        return 0

    def remove(self) -> None:
        """Remove the file."""
        if self._read() == os.getpid():
            with suppress(OSError):
                os.unlink(self.path)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
