"""Escapes: pieces of code that try to get out, one a way. Each prints `OUT` where it does.

They are the trial at every start (`trial.py`), the table of docs/sandbox.md (`python -m strop.sandbox --escapes`) and tests. What they
reach for stands in a `Bait`: a file, sockets that listen, this process. The walls: `c` the cell, `l` the locks; both together are `cl`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

SECRET = "the-bait-was-read"


@dataclass(frozen=True, slots=True)
class Escape:
    """One way out. `held` names the walls that hold it alone; both together hold all of them."""

    name: str
    code: str
    held: str = "cl"
    quick: bool = True
    """Tried at every start."""
    walls: bool = True
    """Held by a wall: where there is none, it gets out. The others are held by limits, by how a process is started and by who reports."""


PRELUDE = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
arm = os.uname().machine == "aarch64"
"""

ESCAPES = (
    Escape("a file of the host is read", "print('OUT' if SECRET in open(FILE).read() else '')"),
    Escape(
        "a file of the host, by a link in one's own folder",
        """
os.symlink(FILE, 'link')
open('link').read()
print('OUT')
""",
    ),
    Escape(
        "a file of the host, by its hard link",
        """
os.link(FILE, 'hard')
open('hard').read()
print('OUT')
""",
    ),
    Escape(
        "a file is written beside it",
        """
open(FILE + '.made', 'w').write('x')
print('OUT')
""",
    ),
    Escape("the name of a file of the host", "print('OUT' if os.path.exists(FILE) else '')", held="c", quick=False),
    Escape(
        "a file of the host is emptied, removed, renamed",
        """
for act in (lambda: os.truncate(FILE, 0), lambda: os.remove(FILE), lambda: os.rename(FILE, FILE + '.moved')):
    try:
        act()
        print('OUT')
    except OSError as no:
        print(no)
""",
    ),
    Escape(
        "mode and times of a file of the host",
        """
for act in (lambda: os.chmod(FOLDER, 0o777), lambda: os.utime(FOLDER, (1, 1)), lambda: os.setxattr(FOLDER, 'user.x', b'x')):
    try:
        act()
        print('OUT')
    except OSError as no:
        print(no)
""",
    ),
    Escape("a folder of the host is listed", "print('OUT' if os.listdir(FOLDER) else '')"),
    Escape(
        "keys in the environment",
        """
known = {'PYTHONHASHSEED', 'PWD', 'LC_CTYPE'}
print('OUT' if set(os.environ) - known else '')
""",
        walls=False,
    ),
    Escape(
        "environment and command of other processes",
        """
for pid in (p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()):
    for name in ('environ', 'cmdline', 'mem', 'maps'):
        try:
            open(f'/proc/{pid}/{name}', 'rb').close()
            print('OUT')
        except OSError:
            pass
""",
    ),
    Escape(
        "the system's settings",
        """
for name in ('/proc/sys/kernel/core_pattern', '/sys/kernel/uevent_helper'):
    try:
        os.close(os.open(name, os.O_WRONLY))
        print('OUT')
    except OSError:
        pass
""",
    ),
    Escape(
        "a connection by TCP",
        """
socket.create_connection(('127.0.0.1', PORT), 2).close()
print('OUT')
""",
    ),
    Escape(
        "a packet by UDP",
        """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('127.0.0.1', UDP))
s.send(b'x')
time.sleep(0.02)
s.send(b'x')
print('OUT')
""",
    ),
    Escape(
        "a packet by a descriptor of a pair",
        """
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.sendto(b'x', GRAM)
print('OUT')
""",
    ),
    Escape(
        "an abstract socket",
        """
s = socket.socket(socket.AF_UNIX)
s.connect(NAME)
print('OUT')
""",
    ),
    Escape(
        "a socket with a path",
        """
s = socket.socket(socket.AF_UNIX)
s.connect(FILE + '.socket')
print('OUT')
""",
    ),
    Escape(
        "a raw socket, a socket of netlink",
        """
for f, k in ((socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    try:
        socket.socket(f, k)
        print('OUT')
    except OSError:
        pass
""",
        held="l",
        quick=False,
    ),
    Escape("a signal to a process of the host", "PID > 64 and (os.kill(PID, 0), print('OUT'))"),
    Escape(
        "a signal by a descriptor's owner",
        """
import fcntl
r, w = os.pipe()
fcntl.fcntl(r, 8, PID)
print('OUT' if PID > 64 and fcntl.fcntl(r, 9) == PID else '')
""",
    ),
    Escape(
        "memory of a process of the host",
        """
buffer = ctypes.create_string_buffer(8)
class V(ctypes.Structure):
    _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]
here = V(ctypes.addressof(buffer), 8)
there = V(ADDRESS, 8)
print('OUT' if libc.process_vm_readv(PID, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 8 else '')
""",
    ),
    Escape("a debugger on a process of the host", "print('OUT' if PID > 64 and libc.ptrace(0x4206, PID, 0, 0) == 0 else '')"),
    Escape(
        "the server's memory and descriptors",
        """
for name in ('mem', 'environ', 'fd', 'root'):
    try:
        p = f'/proc/{os.getppid()}/{name}'
        (os.listdir if name in ('fd', 'root') else open)(p)
        print('OUT')
    except OSError:
        pass
""",
    ),
    Escape("a debugger on the server", "print('OUT' if libc.ptrace(0x4206, os.getppid(), 0, 0) == 0 else '')"),
    Escape(
        "inherited descriptors",
        """
for fd in range(4, 1024):
    try:
        os.fstat(fd)
        print('OUT', fd)
    except OSError:
        pass
""",
        walls=False,
    ),
    Escape(
        "powers of root",
        """
import stat
for act in (lambda: os.chroot('/'), lambda: os.nice(-1), lambda: os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))):
    try:
        act()
        print('OUT')
    except OSError as no:
        print(no)
""",
    ),
    Escape(
        "another user",
        """
if os.getuid():
    os.setresuid(0, 0, 0)
    print('OUT')
""",
        walls=False,
    ),
    Escape(
        "processes beyond the limit",
        """
made = 0
try:
    for _ in range(300):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        made += 1
finally:
    print('OUT' if made > 8 else made)
""",
        quick=False,
    ),
    Escape(
        "processes by the call that sessions fork with",
        """
made = 0
while made < 40:
    pid = libc.syscall(220 if arm else 56, 0x8011, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        break
    made += 1
print('OUT' if made > 16 else made)
""",
    ),
    Escape(
        "threads beyond the limit",
        """
import threading
made = 0
try:
    for _ in range(300):
        threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
        made += 1
finally:
    print('OUT' if made > 8 else made)
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "memory beyond the limit",
        """
kept = []
for _ in range(64):
    kept.append(bytearray(64 << 20))
print('OUT')
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "memory by files without a name",
        """
room = 0
while room < 640 << 20:
    f = os.memfd_create('x')
    for _ in range(15):
        room += os.write(f, bytes(1 << 20))
print('OUT')
""",
        held="l",
        quick=False,
    ),
    Escape(
        "disk beyond the limit",
        """
room = 0
while room < 64 << 20:
    with open(f'f{room}', 'wb', buffering=0) as f:
        for _ in range(8):
            n = f.write(bytes(1 << 20))
            if n <= 0:
                raise OSError('full')
            room += n
print('OUT')
""",
        quick=False,
    ),
    Escape(
        "files beyond the limit",
        """
for n in range(1200):
    open(f'f{n}', 'w').close()
print('OUT')
""",
        quick=False,
    ),
    Escape(
        "output beyond the limit",
        """
n = 0
while n < 16 << 20:
    n += os.write(1, bytes(65536))
print('OUT')
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "time beyond the limit",
        """
end = time.time() + TOO_LONG
while time.time() < end:
    pass
print('OUT')
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "sleep beyond the limit",
        """
time.sleep(TOO_LONG)
print('OUT')
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "limits are raised",
        """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
print('OUT')
""",
        quick=False,
        walls=False,
    ),
    Escape(
        "another program",
        """
for path in ('/bin/sh', '/usr/bin/env', '/bin/true'):
    try:
        os.execv(path, [path, '-c', 'echo OUT'])
    except OSError as no:
        print(no)
""",
    ),
    Escape(
        "the interpreter again",
        """
os.execv(sys.executable, [sys.executable, '-S', '-c', 'print("O" + "UT")'])
""",
        held="l",
        quick=False,
    ),
    Escape("namespaces of one's own", "print('OUT' if libc.unshare(0x10000000) == 0 else '')", held="l", quick=False),
    Escape(
        "keys of the kernel",
        """
print('OUT' if libc.syscall(217 if arm else 248, b'user', b'bait', b'x', 1, -2) > 0 else '')
""",
        held="l",
        quick=False,
    ),
    Escape(
        "io_uring, bpf, userfaultfd, perf",
        """
room = ctypes.create_string_buffer(256)
print('OUT' if libc.syscall(425, 4, room) >= 0 else '')
print('OUT' if libc.syscall(282 if arm else 323, 1) >= 0 else '')
""",
        held="l",
        quick=False,
    ),
    Escape(
        "a forged result",
        """
import json, struct
def say(m):
    d = json.dumps(m).encode()
    return struct.pack('>I', len(d)) + d
forged = {'ended': 'finished', 'error': '', 'out': 'OUT', 'seconds': 0.0, 'cpu': 0.0, 'spent': False}
for fd in range(3, 64):
    try:
        os.write(fd, say(forged))
    except OSError:
        pass
""",
        quick=False,
        walls=False,
    ),
)
"""All of them. What one wall alone does not hold is the other's work, and `held` says so."""


@dataclass(frozen=True)
class Bait:
    values: dict[str, object]

    def code(self, escape: Escape, too_long: float = 30.0) -> str:
        """The escape with the bait in it, as constants before it."""
        values = {**self.values, "TOO_LONG": too_long}
        return "".join(f"{name} = {value!r}\n" for name, value in values.items()) + PRELUDE + escape.code


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """What there is to reach, while it is there."""
    with contextlib.ExitStack() as open_now:
        folder = open_now.enter_context(tempfile.TemporaryDirectory(prefix="strop-bait-"))
        os.chmod(folder, 0o755)
        file = os.path.join(folder, "bait")
        with open(file, "w") as written:
            written.write(SECRET)
        os.chmod(file, 0o666)
        tcp = open_now.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = open_now.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        name, gram = f"\0strop-bait-{os.getpid()}", f"\0strop-gram-{os.getpid()}"
        if os.path.exists("/proc/net/unix"):  # Linux alone has abstract ones
            abstract = open_now.enter_context(socket.socket(socket.AF_UNIX))
            abstract.bind(name)
            abstract.listen()
            packets = open_now.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            packets.bind(gram)
        path = open_now.enter_context(socket.socket(socket.AF_UNIX))
        path.bind(file + ".socket")
        path.listen()
        os.chmod(file + ".socket", 0o777)
        yield Bait(
            {
                "SECRET": SECRET,
                "FILE": file,
                "FOLDER": folder,
                "PORT": tcp.getsockname()[1],
                "UDP": udp.getsockname()[1],
                "NAME": name,
                "GRAM": gram,
                "PID": os.getpid(),
                "ADDRESS": id(SECRET),
            }
        )
