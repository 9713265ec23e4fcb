"""What the half of an agent that faces the network gives up before it reads a byte: rights, and growth.

Started by root it becomes an ordinary user, for good: then it cannot open the host's folder (mode 0700), its
socket or a TPM. Whoever started it, it starts no process and no thread, gains no rights by running a program
(prctl(2), PR_SET_NO_NEW_PRIVS), opens few files and leaves no core with its TLS key in it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from typing import Final

from shype.errors import ShypeUsageError

FILES: Final = 128
_PR_SET_NO_NEW_PRIVS: Final = 38


def find_user(name: str) -> pwd.struct_passwd | None:
    """Return the user to become; None where only root could, and we are not. Raises ShypeUsageError."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ShypeUsageError(f"--user {name}: no such user on this machine") from None
    if found.pw_uid == 0 or found.pw_gid == 0:
        raise ShypeUsageError(f"--user {name}: has the rights of root, which the network must not reach")
    return found


def confine(user: pwd.struct_passwd | None) -> None:
    """Give up what is not needed. Raises OSError where that fails: then nothing may be served."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if user is not None:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"no_new_privs: {os.strerror(number)}")
