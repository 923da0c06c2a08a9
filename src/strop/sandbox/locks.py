"""What a process gives up before it executes a text that a model wrote: files (Landlock), system calls (seccomp), capabilities, room.

Three locks that the kernel keeps, each for good: no later call, and no capability, takes one off. Pure Python and ctypes, nothing of
strop: it is imported by what runs inside (`zygote.py`, `tasks/scorer.py`), which is started by path.

    landlock(read, write)     reads below `read`, writes below `write`, executes nothing; from ABI 4 no TCP, from ABI 6 no abstract sockets
    seccomp(program(...))     a list of what is allowed. What libraries try harmlessly fails with EPERM, what is not listed kills
    powerless(), limits(...)  no capability, no new ones by setuid files; memory, processor seconds, file sizes, descriptors

Landlock hides contents and not names: `stat` answers. That a name exists is kept from the code by the cell alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import site
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence

# ---------------------------------------------------------------------------------------- system calls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def _table(text: str) -> dict[str, dict[str, int]]:
    """{machine: {name: number}} of lines `name number-on-x86_64 number-on-aarch64`, `-` where it has none."""
    rows = [row.split() for row in text.replace("\n", " ").split(",")]
    return {machine: {row[0]: int(row[at]) for row in rows if row[at] != "-"} for at, machine in enumerate(ARCHITECTURES, start=1)}


ALLOWED = _table(
    """read 0 63, write 1 64, close 3 57, fstat 5 80, lseek 8 62, mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214,
    rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigtimedwait 128 137,
    rt_sigsuspend 130 133, sigaltstack 131 132, restart_syscall 219 128, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66,
    preadv 295 69, pwritev 296 70, preadv2 327 286, pwritev2 328 287, access 21 -, faccessat 269 48, faccessat2 439 439, pipe 22 -,
    pipe2 293 59, select 23 -, pselect6 270 72, poll 7 -, ppoll 271 73, sched_yield 24 124, mremap 25 216, msync 26 227, mincore 27 232,
    madvise 28 233, dup 32 23, dup2 33 -, dup3 292 24, pause 34 -, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113,
    clock_getres 229 114, gettimeofday 96 169, time 201 -, getitimer 36 102, setitimer 38 103, alarm 37 -, sendfile 40 71,
    recvfrom 45 207, recvmsg 47 212, shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209, setsockopt 54 208,
    exit 60 93, exit_group 231 94, uname 63 160, flock 73 32, fsync 74 82, fdatasync 75 83, getdents 78 -, getdents64 217 61,
    getcwd 79 17, chdir 80 49, fchdir 81 50, readlink 89 -, readlinkat 267 78, umask 95 166, stat 4 -, lstat 6 -, newfstatat 262 79,
    statx 332 291, statfs 137 43, fstatfs 138 44, getrlimit 97 163, getrusage 98 165, sysinfo 99 179, times 100 153, getuid 102 174,
    getgid 104 176, geteuid 107 175, getegid 108 177, getppid 110 173, getpid 39 172, gettid 186 178, getpgrp 111 -, getpgid 121 155,
    getsid 124 156, getgroups 115 158, getresuid 118 148, getresgid 120 150, capget 125 90, getpriority 140 141,
    sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120, sched_get_priority_max 146 125,
    sched_get_priority_min 147 126, sched_rr_get_interval 148 127, arch_prctl 158 -, futex 202 98, futex_waitv 449 449,
    set_tid_address 218 96, set_robust_list 273 99, rseq 334 293, epoll_create 213 -, epoll_create1 291 20, epoll_ctl 233 21,
    epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19, timerfd_create 283 85,
    timerfd_settime 286 86, timerfd_gettime 287 87, signalfd 282 -, signalfd4 289 74, getrandom 318 278, membarrier 324 283,
    fadvise64 221 223, getcpu 309 168, close_range 436 436"""
)
"""What computing, reading and waiting need."""

WRITES = _table(
    """truncate 76 45, ftruncate 77 46, fallocate 285 47, rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34,
    rmdir 84 -, link 86 -, linkat 265 37, unlink 87 -, unlinkat 263 35, symlink 88 -, symlinkat 266 36, chmod 90 -, fchmod 91 52,
    fchmodat 268 53, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, creat 85 -, copy_file_range 326 285"""
)
"""Changes of files: where they may be made at all, Landlock and what is mounted say of which."""

OUTWARD = _table(
    """socket 41 198, connect 42 203, accept 43 202, accept4 288 242, sendmsg 46 211, sendmmsg 307 269, recvmmsg 299 243, bind 49 200,
    listen 50 201, fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, setrlimit 160 164, kill 62 129"""
)
"""Ways out that libraries try harmlessly (`import urllib3` opens a socket to see whether it may)."""

TRIED = _table(
    """wait4 61 260, waitid 247 95, setpriority 141 140, sched_setaffinity 203 122, sched_setscheduler 144 119, sched_setparam 142 118,
    sched_setattr 314 274, sched_getattr 315 275, ioprio_set 251 30, ioprio_get 252 31, chown 92 -, fchown 93 55, lchown 94 -,
    fchownat 260 54, mknod 133 -, mknodat 259 33, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, getxattr 191 8, lgetxattr 192 9,
    fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13, removexattr 197 14, lremovexattr 198 15,
    fremovexattr 199 16, memfd_create 319 279, mlock 149 228, munlock 150 229, mlockall 151 230, munlockall 152 231, mlock2 325 284,
    personality 135 92, setsid 112 157, setpgid 109 154, setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143,
    setgroups 116 159, setresuid 117 147, setresgid 119 149, setfsuid 122 151, setfsgid 123 152, capset 126 91, shmget 29 194,
    shmat 30 196, shmctl 31 195, shmdt 67 197, semget 64 190, semop 65 193, semctl 66 191, semtimedop 220 192, msgget 68 186,
    msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181, inotify_init 253 -, inotify_init1 294 26,
    inotify_add_watch 254 27, inotify_rm_watch 255 28, timer_create 222 107, timer_settime 223 110, timer_gettime 224 108,
    timer_getoverrun 225 109, timer_delete 226 111, splice 275 76, tee 276 77, vmsplice 278 75, readahead 187 213, sync 162 81,
    syncfs 306 267, sync_file_range 277 84, mbind 237 235, set_mempolicy 238 237, get_mempolicy 239 236, get_robust_list 274 100,
    pkey_mprotect 329 288, pkey_alloc 330 289, pkey_free 331 290, landlock_create_ruleset 444 444, landlock_add_rule 445 445,
    landlock_restrict_self 446 446, seccomp 317 277, pidfd_open 434 434"""
)
"""Refused with an error and never by death; the rest (ptrace, mounts, keys, bpf, io_uring, other processes' memory, …) kills."""

ASKED = _table(
    """open 2 -, openat 257 56, clone 56 220, clone3 435 435, openat2 437 437, ioctl 16 29, prctl 157 167, fcntl 72 25, prlimit64 302 261,
    sendto 44 206, socketpair 53 199"""
)
"""Decided by their arguments, in `program`."""

NEWEST = 451
"""Calls above are younger than these lists; who asks for one learns that it does not exist."""

CLONE_PARENT, SIGCHLD = 0x8000, 17
FORK = CLONE_PARENT | SIGCHLD
"""The one kind of new process that a session's own driver makes: a sibling of itself, so that whoever watches it is told of its end."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_LOAD, _EQUAL, _ABOVE, _FROM, _ANY, _AND, _GIVE, _JUMP = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06, 0x05
KILL, ALLOW = 0x80000000, 0x7FFF0000
EPERM, ENOTTY, ENOSYS = (0x00050000 | number for number in (1, 25, 38))

Instruction = tuple[int, int, int, int]
Test = tuple[int, int, tuple[int, ...]]
"""(argument's word: 2 * argument, + 1 for its upper half; mask; the values it may have)."""


def _all_of(number: int, tests: Sequence[Test], otherwise: int | None) -> list[Instruction]:
    """Allow the call where every test holds; without an `otherwise` what follows decides the rest."""
    body: list[Instruction] = []
    for at, (word, mask, values) in enumerate(tests):
        left = sum(3 + len(each) for _, _, each in tests[at + 1 :]) + 1
        body += [(_LOAD, 0, 0, 16 + 4 * word), (_AND, 0, 0, mask)]
        body += [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
        body += [(_JUMP, 0, 0, left) if otherwise is None else (_GIVE, 0, 0, otherwise)]
    body += [(_GIVE, 0, 0, ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body, (_LOAD, 0, 0, 0)]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _given(numbers: Iterable[int], action: int) -> list[Instruction]:
    """The same action for many calls."""
    return [step for low, high in _ranges(numbers) for step in ((_FROM, 0, 2, low), (_ABOVE, 1, 0, high), (_GIVE, 0, 0, action))]


def program(machine: str, *, forks: bool = False, writes: bool = True, strict: bool = False) -> list[Instruction]:
    """A BPF filter (code, jump if true, jump if false, constant): a list of what is allowed.

    `forks` lets through what a session's driver makes its siblings with (`FORK`) and no other new process. Without `writes` no file is
    changed: Landlock alone knows neither modes and times nor, before ABI 3, lengths. `strict` is for code that is only to give a value:
    it changes no file either, and what fails with EPERM elsewhere for being a way out kills.
    """
    call = {name: number for table in (ALLOWED, WRITES, OUTWARD, TRIED, ASKED) for name, number in table[machine].items()}
    asked = ASKED[machine]
    out = KILL if strict else EPERM
    steps: list[Instruction] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, ARCHITECTURES[machine]), (_GIVE, 0, 0, KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(_FROM, 0, 1, 0x40000000), (_GIVE, 0, 0, KILL)]  # the x32 numbering of the same calls
    steps += _given(ALLOWED[machine].values(), ALLOW)
    for name, argument in (("open", 1), ("openat", 2)):
        if name in asked and strict:
            steps += [(_EQUAL, 0, 4, asked[name]), (_LOAD, 0, 0, 16 + 8 * argument)]
            steps += [(_ANY, 0, 1, WRITING), (_GIVE, 0, 0, KILL), (_GIVE, 0, 0, ALLOW)]
        elif name in asked:
            steps += [(_EQUAL, 0, 1, asked[name]), (_GIVE, 0, 0, ALLOW)]
    word = 0xFFFFFFFF
    if forks:
        steps += _all_of(call["clone"], [(0, word, (FORK,)), (1, word, (0,)), (2, word, (0,)), (3, word, (0,))], out)
    # no owner of a descriptor: its signals would go to another process (F_SETOWN, F_SETSIG, FIOSETOWN)
    steps += _all_of(call["fcntl"], [(2, word, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034))], EPERM)
    steps += _all_of(call["ioctl"], [(2, word, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451))], ENOTTY)
    steps += _all_of(call["prctl"], [(0, word, (1,)), (2, word, (9,))], None)  # to die with the parent, and never not to
    if forks:  # what it forks takes a filter more, `no_forks`; a filter never gives anything back
        steps += _all_of(call["prctl"], [(0, word, (22,)), (2, word, (2,))], None)
        steps += _all_of(call["prctl"], [(0, word, (38,)), (2, word, (1,))], None)
    steps += _all_of(call["prctl"], [(0, word, (15, 16, 0x53564D41))], EPERM)  # names of threads and of memory
    steps += _all_of(call["prlimit64"], [(0, word, (0,)), (4, word, (0,)), (5, word, (0,))], out)  # one's own, read
    if not strict:  # a pair between a process and itself, which asyncio waits with, and never an address
        steps += _all_of(call["socketpair"], [(0, word, (1,)), (2, 0xF, (1,))], EPERM)
        steps += _all_of(call["sendto"], [(8, word, (0,)), (9, word, (0,))], EPERM)
    steps += _given([call["clone3"], call["openat2"]], ENOSYS)
    steps += _given(WRITES[machine].values(), out if strict or not writes else ALLOW)
    steps += _given([call["clone"], *(OUTWARD[machine].values())], out)
    steps += _given(TRIED[machine].values(), EPERM)
    return [*steps, (_ABOVE, 0, 1, NEWEST), (_GIVE, 0, 0, ENOSYS), (_GIVE, 0, 0, KILL)]


def no_forks(machine: str) -> list[Instruction]:
    """On top of a filter that lets its process fork: no more, and no more filters."""
    load, word = (_LOAD, 0, 0, 0), 0xFFFFFFFF
    names = _all_of(ASKED[machine]["prctl"], [(0, word, (1, 15, 16, 0x53564D41))], EPERM)
    return [load, (_EQUAL, 0, 1, ASKED[machine]["clone"]), (_GIVE, 0, 0, EPERM), *names, (_GIVE, 0, 0, ALLOW)]


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


_LIBC = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: int) -> int:
    return int(_LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments)))


def known() -> str:
    """This machine's name where the lists know it, else nothing: without them there is no lock."""
    return platform.machine() if sys.platform == "linux" and platform.machine() in ARCHITECTURES and sys.maxsize > 2**32 else ""


def seccomp(steps: Sequence[Instruction]) -> bool:
    """Have the kernel hold this process and all it will start to a filter. False where that is not available."""
    return prepared(steps)()


def prepared(steps: Sequence[Instruction]) -> Callable[[], bool]:
    """`seccomp` with all made ready before: for who is forked often."""
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    given = ctypes.byref(_Filter(len(steps), ctypes.cast(buffer, ctypes.c_void_p).value))
    return lambda held=buffer: no_new_privileges() and _LIBC.prctl(22, 2, given, 0, 0) == 0


def no_new_privileges() -> bool:
    """A setuid file gives nothing any more."""
    return _LIBC.prctl(38, 1, 0, 0, 0) == 0


# --------------------------------------------------------------------------------------------- Landlock

SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FOLDERS = 16 | 32 | 128 | 256 | 4096
"""Removing, and making folders, files and symbolic links; never devices, sockets and pipes with a name."""


def landlock_abi() -> int:
    """What this kernel's Landlock can do, 0 where it has none or may not be asked."""
    return max(0, _syscall(_CREATE, 0, 0, 1)) if known() else 0


def landlock(read: Iterable[str], write: Iterable[str] = ()) -> int:
    """Nothing of the file system but what stands below `read`, and below `write` for changes; the ABI that holds it, 0 where none does."""
    abi = landlock_abi()
    if abi == 0:
        return 0
    refer, truncate = 8192 * (abi >= 2), 16384 * (abi >= 3)
    handled = (8192 - 1) | refer | truncate | 32768 * (abi >= 5)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    asked = ctypes.create_string_buffer(struct.pack("QQQ", handled, 3, 3)[:size], size)  # no TCP; no abstract sockets, no signals outside
    rules = _syscall(_CREATE, ctypes.addressof(asked), size, 0)
    if rules < 0:
        return 0
    try:
        for paths, rights in ((read, _READ_FILE | _READ_DIR), (write, _READ_FILE | _READ_DIR | _WRITE_FILE | _FOLDERS | refer | truncate)):
            for path in paths:
                _add(rules, path, rights)
        return abi if no_new_privileges() and _syscall(_RESTRICT, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _add(rules: int, path: str, rights: int) -> None:
    """Paths that do not exist cannot be read either way."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE | _WRITE_FILE | 16384
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
        if _syscall(_ADD, rules, 1, ctypes.addressof(rule), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
    finally:
        os.close(handle)


# ------------------------------------------------------------------------------- capabilities and limits


def powerless() -> None:
    """No capability and no way to one; memory and environment of this process are nobody else's to read."""
    if sys.platform != "linux":
        return
    for capability in range(64):
        _LIBC.prctl(24, capability, 0, 0, 0)  # of the bounding set, where we may
    _LIBC.prctl(47, 4, 0, 0, 0)  # ambient
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if _LIBC.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")
    no_new_privileges()
    _LIBC.prctl(4, 0, 0, 0, 0)  # not dumpable


def die_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(1, 9, 0, 0, 0)


def libraries() -> list[str]:
    """Where this interpreter finds its modules and shared objects: what may be read by code that knows nothing of this machine's user."""
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = [*own, *site.getsitepackages(), os.path.join(sys.base_prefix, "lib"), *SYSTEM]
    return [path for path in dict.fromkeys(found) if path and os.path.exists(path)]


def mapped() -> int:
    """Bytes of address space that this process has now; 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()
    return 0


def limits(memory: int, **others: int) -> None:
    """Kernel limits for good: bytes of address space in all (0: none), and others by their names (`cpu`, `fsize`, `nofile`, `nproc`)."""
    for name, value in (("as", memory or None), ("core", 0), ("memlock", 0), ("msgqueue", 0), *others.items()):
        which = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if which is None or value is None:
            continue
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))


def packages() -> list[str]:
    """Folders of the packages that this process imported, wherever they stand: they may import more of themselves."""
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    return [path for top in sorted(tops) for path in getattr(sys.modules.get(top), "__path__", ()) if os.path.isdir(path)]
