"""Every module can be imported where what only POSIX systems have is missing, as on Windows."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: afterwards nothing there is as it should be.
SCRIPT = r"""
import builtins, importlib, os, pkgutil, signal, sys

import pave, pave_world

BLOCKED = {
    "resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "spwd", "crypt", "nis", "syslog",
    "posix", "readline", "curses", "_posixsubprocess", "_posixshmem", "_curses",
}
# What other packages import comes first: they know their own ways on Windows.
names = []
for package in (pave, pave_world):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # It runs the command line.
        if not module.name.endswith("__main__"):
            names.append(module.name)
absent = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        absent[name] = error.name  # of an extra that is not installed here
for name in [name for name in sys.modules if name.partition(".")[0] in ("pave", "pave_world")]:
    del sys.modules[name]
for module, lacks in (
    (os, "fork getuid geteuid getgid getpgid killpg sched_getaffinity mkfifo getloadavg uname "
         "O_NOFOLLOW O_NONBLOCK O_DIRECTORY posix_fadvise chown statvfs"),
    (signal, "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD alarm setitimer pthread_sigmask"),
):
    for name in lacks.split():
        if hasattr(module, name):
            delattr(module, name)

real = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.partition(".")[0] in ("pave", "pave_world") and level == 0:
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{importer} imports {name}", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
failed = []
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if absent.get(name) != error.name:
            failed.append(f"{name}: {error}")
    except Exception as error:
        failed.append(f"{name}: {type(error).__name__}: {error}")
print(len(names), len(absent), sorted(set(filter(None, absent.values()))))
print(*failed, sep="\n")
sys.exit(bool(failed))
"""


@pytest.mark.slow
def test_every_module_is_imported_without_what_windows_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules = int(done.stdout.split()[0])
    assert modules > 200
