"""The system call filter of the sandbox: a classic BPF program for seccomp (`man 2 seccomp`, `linux/seccomp.h`).

What namespaces and missing capabilities do not already refuse, and no job needs: new namespaces (a user namespace gives
its maker every capability in it, and with them most of the kernel's attack surface), mounts, keys, BPF, performance
events, io_uring, modules; typing into a terminal; and sockets of other families than Unix, internet and netlink:
AF_VSOCK reaches the hypervisor from any network namespace. A program of another architecture is killed.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterable

_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in `struct seccomp_data`: of arguments the lower half, which comes first on both machines below."""

_NEW_NAMESPACES = 0x7E020000 | 0x80
"""CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET; and CLONE_NEWTIME, which only `unshare` takes."""
_CLONE_NEW_NAMESPACES = 0x7E020000
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""
_TERMINAL_TRICKS = (0x5412, 0x541C)
"""TIOCSTI, TIOCLINUX."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
# The same on both since Linux 5.
_REFUSED_EVERYWHERE = (
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
)
_REFUSED = {
    "x86_64": (
        *(165, 166, 155, 161, 308),  # mount, umount2, pivot_root, chroot, setns
        *(248, 249, 250),  # add_key, request_key, keyctl
        *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
        *(
            175,
            313,
            176,
            246,
            320,
            169,
        ),  # init_module, finit_module, delete_module, kexec_load, kexec_file_load, reboot
        *(167, 168, 163, 103, 179, 304),  # swapon, swapoff, acct, syslog, quotactl, open_by_handle_at
        *(172, 173),  # iopl, ioperm
    ),
    "aarch64": (
        *(40, 39, 41, 51, 268),  # mount, umount2, pivot_root, chroot, setns
        *(217, 218, 219),  # add_key, request_key, keyctl
        *(280, 241, 282),  # bpf, perf_event_open, userfaultfd
        *(
            105,
            273,
            106,
            104,
            294,
            142,
        ),  # init_module, finit_module, delete_module, kexec_load, kexec_file_load, reboot
        *(224, 225, 89, 116, 60, 265),  # swapon, swapoff, acct, syslog, quotactl, open_by_handle_at
    ),
}
_CLONE3 = 435
"""Its flags lie in memory, which a filter cannot read: libraries fall back on `clone` when there is none."""
_CLONE = {"x86_64": 56, "aarch64": 220}
_UNSHARE = {"x86_64": 272, "aarch64": 97}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_IOCTL = {"x86_64": 16, "aarch64": 29}


class MachineNotKnown(Exception):
    """There is no filter for this machine; the message names it."""


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _calls(numbers: Iterable[int], error: int) -> bytes:
    return b"".join(_step(_EQUAL, number, 0, 1) + _refuse(error) for number in numbers)


def _flags(number: int, mask: int) -> bytes:
    """A call whose first argument may have no bit of `mask`."""
    body = _step(_LOAD, _FIRST) + _step(_ANY_BIT, mask, 0, 1) + _refuse(errno.EPERM) + _step(_RETURN, _ALLOW)
    return _step(_EQUAL, number, 0, 4) + body


def _only(number: int, offset: int, values: tuple[int, ...], error: int) -> bytes:
    """A call whose argument at `offset` must be one of `values`."""
    count = len(values)
    tests = [_step(_EQUAL, value, count - place, 0) for place, value in enumerate(values)]
    body = _step(_LOAD, offset) + b"".join(tests) + _refuse(error) + _step(_RETURN, _ALLOW)
    return _step(_EQUAL, number, 0, count + 3) + body


def _never(number: int, offset: int, values: tuple[int, ...], error: int) -> bytes:
    """A call whose argument at `offset` must be none of `values`."""
    count = len(values)
    tests = [_step(_EQUAL, value, count - place, 0) for place, value in enumerate(values)]
    body = _step(_LOAD, offset) + b"".join(tests) + _step(_RETURN, _ALLOW) + _refuse(error)
    return _step(_EQUAL, number, 0, count + 3) + body


def program(machine: str) -> bytes:
    """The filter of a machine (`platform.machine()`), as bubblewrap's `--seccomp` takes it. Raises MachineNotKnown."""
    if machine not in _ARCHITECTURES:
        raise MachineNotKnown(f"there is no system call filter for {machine}; known: {', '.join(_ARCHITECTURES)}")
    foreign = _step(_LOAD, _ARCHITECTURE) + _step(_EQUAL, _ARCHITECTURES[machine], 1, 0) + _step(_RETURN, _KILL_PROCESS)
    x32 = _step(_AT_LEAST, _X32_BIT, 0, 1) + _refuse(errno.ENOSYS)
    return b"".join(
        (
            foreign,
            _step(_LOAD, _NUMBER),
            x32 if machine == "x86_64" else b"",
            _calls((_CLONE3,), errno.ENOSYS),
            _calls(_REFUSED[machine] + _REFUSED_EVERYWHERE, errno.EPERM),
            _flags(_CLONE[machine], _CLONE_NEW_NAMESPACES),
            _flags(_UNSHARE[machine], _NEW_NAMESPACES),
            _only(_SOCKET[machine], _FIRST, _FAMILIES, errno.EAFNOSUPPORT),
            _never(_IOCTL[machine], _SECOND, _TERMINAL_TRICKS, errno.EPERM),
            _step(_RETURN, _ALLOW),
        )
    )


def open_filter() -> int:
    """A descriptor to read this machine's filter from; the caller closes it. Raises MachineNotKnown."""
    content = program(platform.machine())
    descriptor = os.memfd_create("seccomp")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
