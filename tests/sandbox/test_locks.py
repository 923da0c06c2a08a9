"""The filter of system calls, read by an interpreter of its own: what it decides on both machines, on whichever one this runs."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from strop.sandbox import locks

TABLES = (locks.ALLOWED, locks.WRITES, locks.OUTWARD, locks.TRIED, locks.ASKED)
EPERM, ENOSYS, ENOTTY = locks.EPERM, locks.ENOSYS, locks.ENOTTY


def decided(program, machine: str, call: str | int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would answer."""
    number = call if isinstance(call, int) else next(table[machine][call] for table in TABLES if call in table[machine])
    data = struct.pack("<IIQ6Q", number, architecture or locks.ARCHITECTURES[machine], 0, *[*arguments, *[0] * 6][:6])
    held, at = 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            held = struct.unpack_from("<I", data, constant)[0]
        elif code == 0x54:
            held &= constant
        elif code == 0x05:
            at += constant
        else:
            at += yes if {0x15: held == constant, 0x25: held > constant, 0x35: held >= constant, 0x45: held & constant}[code] else no


@pytest.fixture(params=locks.ARCHITECTURES)
def machine(request):
    return request.param


@pytest.mark.parametrize("options", [{}, {"forks": True}, {"writes": False}, {"strict": True}], ids=str)
def test_every_jump_stays_inside_and_forward(machine, options):
    program = locks.program(machine, **options)
    assert len(program) < 4096
    for place, (code, yes, no, constant) in enumerate(program):
        assert max(yes, no) < 256
        assert code == 0x06 or place + 1 + (constant if code == 0x05 else max(yes, no)) < len(program)
    assert program[-1] == (0x06, 0, 0, locks.KILL)


def test_no_call_stands_in_two_lists(machine):
    names = [name for table in TABLES for name in table[machine]]
    numbers = [number for table in TABLES for number in table[machine].values()]
    assert len(names) == len(set(names))
    assert len(numbers) == len(set(numbers))


def test_computing_is_allowed_ways_out_fail_and_the_rest_kills(machine):
    program = locks.program(machine)
    for call in ("read", "write", "mmap", "futex", "openat", "clock_gettime", "exit_group", "mkdirat"):
        assert decided(program, machine, call) == locks.ALLOW
    for call in ("socket", "connect", "execve", "setuid", "kill", "memfd_create", "clone", "sendmsg"):
        assert decided(program, machine, call) == EPERM
    rest = {
        "ptrace": (101, 117),
        "mount": (165, 40),
        "unshare": (272, 97),
        "bpf": (321, 280),
        "io_uring_setup": (425, 425),
        "keyctl": (250, 219),
    }
    for numbers in rest.values():
        assert decided(program, machine, numbers[machine == "aarch64"]) == locks.KILL
    assert decided(program, machine, locks.NEWEST + 9) == decided(program, machine, "clone3") == ENOSYS


def test_another_machines_numbers_kill(machine):
    program = locks.program(machine)
    assert decided(program, machine, "read", architecture=0x40000003) == locks.KILL
    if machine == "x86_64":
        assert decided(program, machine, 0x40000000 + 39) == locks.KILL


def test_arguments_decide(machine):
    program = locks.program(machine)
    assert decided(program, machine, "prctl", 1, 9) == locks.ALLOW, "it may ask to die with its parent"
    assert decided(program, machine, "prctl", 1, 0) == EPERM, "and never not to"
    assert decided(program, machine, "prctl", 15) == locks.ALLOW
    assert decided(program, machine, "prctl", 38) == EPERM
    assert decided(program, machine, "fcntl", 3, 3) == locks.ALLOW
    assert decided(program, machine, "fcntl", 3, 8, 1) == EPERM, "no owner of a descriptor: it would be sent signals"
    assert decided(program, machine, "ioctl", 1, 0x5401) == locks.ALLOW
    assert decided(program, machine, "ioctl", 1, 0x5412) == ENOTTY, "no text is typed into a terminal"
    assert decided(program, machine, "prlimit64", 0, 7, 0) == locks.ALLOW
    assert decided(program, machine, "prlimit64", 0, 7, 1 << 40) == decided(program, machine, "prlimit64", 9, 7, 0) == EPERM
    assert decided(program, machine, "socketpair", 1, 1 | 0o2004000) == locks.ALLOW
    assert decided(program, machine, "socketpair", 1, 2) == decided(program, machine, "socketpair", 2, 1) == EPERM
    assert decided(program, machine, "sendto", 4, 5, 1, 0, 0) == locks.ALLOW
    assert decided(program, machine, "sendto", 4, 5, 1, 0, 1 << 40) == EPERM, "no address, in the upper half either"


def test_a_session_forks_one_way_and_a_single_piece_none(machine):
    forks = locks.program(machine, forks=True)
    assert decided(forks, machine, "clone", locks.FORK) == locks.ALLOW
    for flags in (17, locks.FORK | 0x100, locks.FORK | 0x10000000, 0x3D0F00, locks.FORK | 1 << 32):
        assert decided(forks, machine, "clone", flags) == EPERM
    assert decided(locks.no_forks(machine), machine, "clone", locks.FORK) == EPERM
    for call in ("read", "mmap"):
        assert decided(locks.no_forks(machine), machine, call) == locks.ALLOW
    add_a_filter = ("prctl", 22, 2)
    assert decided(forks, machine, *add_a_filter) == locks.ALLOW, "or a piece could not take the filter that stops it"
    assert decided(locks.no_forks(machine), machine, *add_a_filter) == EPERM
    assert decided(locks.no_forks(machine), machine, "prctl", 1, 9) == locks.ALLOW
    assert decided(locks.program(machine), machine, *add_a_filter) == EPERM


def test_without_writes_no_file_changes_in_any_way(machine):
    program = locks.program(machine, writes=False)
    for call in locks.WRITES[machine]:
        assert decided(program, machine, call) == EPERM, call
    assert decided(program, machine, "openat", 0, 0, 0) == locks.ALLOW


def test_strict_kills_at_writes_and_ways_out(machine):
    strict = locks.program(machine, strict=True)
    assert decided(strict, machine, "openat", 0, 0, 0) == locks.ALLOW
    assert decided(strict, machine, "openat", 0, 0, 0o101) == locks.KILL
    for call in ("mkdirat", "unlinkat", "ftruncate", "socket", "execve", "clone", "sendto", "socketpair", "kill"):
        assert decided(strict, machine, call) == locks.KILL
    assert decided(strict, machine, "getxattr") == EPERM


def test_the_numbers_are_the_kernels():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    real = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}
    ours = {name: number for table in TABLES for name, number in table["x86_64"].items()}
    assert {name: number for name, number in ours.items() if name in real} == {name: real[name] for name in ours if name in real}
    assert len(ours.keys() & real.keys()) > 250


def test_a_machine_that_the_lists_do_not_know_has_no_locks(monkeypatch):
    monkeypatch.setattr(locks.platform, "machine", lambda: "riscv64")
    assert locks.known() == ""
    assert locks.landlock_abi() == 0
