"""Machines with a fault: no file locks, mounts, unknown users. A test skips by name where one cannot be imitated."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NO_FLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
int flock(int descriptor, int operation) {
    struct stat found;
    fstat(descriptor, &found);
    if (getenv("FOLDERS_ONLY") && !S_ISDIR(found.st_mode)) {
        int (*original)(int, int) = dlsym(RTLD_NEXT, "flock");
        return original(descriptor, operation);
    }
    errno = atoi(getenv("FLOCK_ERRNO"));
    return -1;
}
"""


def without_flock(folder: Path, number: int, *, folders_only: bool = False) -> dict[str, str]:
    """The environment of processes to which flock(2) is refused with an error number."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to imitate a file system without flock(2)")
    library = folder / "no-flock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library, "-ldl"], input=NO_FLOCK, text=True, check=True
    )
    extra = {"FOLDERS_ONLY": "1"} if folders_only else {}
    return os.environ | {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(number)} | extra


def with_mounts(*command: object) -> list[str]:
    """A command that may mount what it likes; the rest of the machine does not see it."""
    reason = _no_mounts()
    if reason:
        pytest.skip(f"nothing can be mounted here: {reason}")
    return ["unshare", "--mount", *map(str, command)]


@functools.cache
def _no_mounts() -> str:
    if shutil.which("unshare") is None:
        return "no unshare(1)"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True
    )
    return tried.stderr.strip()


def as_unknown_user(*command: object) -> list[str]:
    """A command that runs as a user whom the system does not know."""
    prefix = ["unshare", "--user", "--map-user=54321"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here to be an unknown user in")
    return [*prefix, *map(str, command)]
