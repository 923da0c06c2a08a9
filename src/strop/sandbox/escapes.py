"""Escapes: pieces of code that try to get out, one a way. Each prints `OUT` where it does.

They are the trial at every start (`held.py`), the table of docs/sandbox.md (`python -m strop.sandbox --escapes`) and tests. What they
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


LIBC = "import ctypes, os, socket, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
CALL = LIBC + "import platform\narm = platform.machine() == 'aarch64'\n"

ESCAPES = (
    Escape("a file of the host is read", f"print('OUT' if {SECRET!r} in open(FILE).read() else '')"),
    Escape("a file of the host, by a link in one's own folder", "import os\nos.symlink(FILE, 'link')\nopen('link').read()\nprint('OUT')"),
    Escape("a file of the host, by its hard link", "import os\nos.link(FILE, 'hard')\nopen('hard').read()\nprint('OUT')"),
    Escape("a file is written beside it", "open(FILE + '.made', 'w').write('x')\nprint('OUT')"),
    Escape("a file of the host is emptied, removed, renamed", "import os\nfor act in (lambda: os.truncate(FILE, 0), lambda: os.remove(FILE),"
           " lambda: os.rename(FILE, FILE + '.moved')):\n    try:\n        act()\n        print('OUT')\n    except OSError as no:\n        print(no)"),
    Escape("a folder of the host is listed", "import os\nprint('OUT' if os.listdir(os.path.dirname(FILE)) else '')"),
    Escape("the name of a file of the host", "import os\nprint('OUT' if os.path.exists(FILE) else '')", held="c", quick=False),
    Escape(
        "keys in the environment",
        "import os\nknown = {'PYTHONHASHSEED', 'PWD', 'LC_CTYPE'}\nprint('OUT' if set(os.environ) - known else '')",
    ),
    Escape(
        "environment and command of other processes",
        "import os\nfor pid in (p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()):\n"
        "    for name in ('environ', 'cmdline', 'mem', 'maps'):\n        try:\n            open(f'/proc/{pid}/{name}', 'rb').close()\n"
        "            print('OUT')\n        except OSError:\n            pass",
    ),
    Escape("the system's settings", "import os\nfor name in ('/proc/sys/kernel/core_pattern', '/sys/kernel/uevent_helper'):\n    try:\n"
           "        os.close(os.open(name, os.O_WRONLY))\n        print('OUT')\n    except OSError:\n        pass"),
    Escape("a connection by TCP", "import socket\nsocket.create_connection(('127.0.0.1', PORT), 2).close()\nprint('OUT')"),
    Escape("a packet by UDP", "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('127.0.0.1', UDP))\n"
           "s.send(b'x')\ntime.sleep(0.02)\ns.send(b'x')\nprint('OUT')"),  # refused where nobody listens
    Escape("a packet by a descriptor of a pair", "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
           "a.sendto(b'x', GRAM)\nprint('OUT')"),
    Escape("an abstract socket", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(NAME)\nprint('OUT')"),
    Escape("a socket with a path", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(FILE + '.socket')\nprint('OUT')"),
    Escape("a raw socket, a socket of netlink", "import socket\nfor f, k in ((socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET,"
           " socket.SOCK_RAW)):\n    try:\n        socket.socket(f, k)\n        print('OUT')\n    except OSError:\n        pass", held="l", quick=False),
    Escape("a signal to a process of the host", "import os\nPID > 64 and (os.kill(PID, 0), print('OUT'))"),
    Escape("a signal by a descriptor's owner", "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, 8, PID)\nprint('OUT' if PID > 64 and fcntl.fcntl(r, 9) == PID else '')"),
    Escape("memory of a process of the host", CALL + "buffer = ctypes.create_string_buffer(8)\nclass V(ctypes.Structure):\n    _fields_ = [('b', ctypes.c_void_p),"
           " ('n', ctypes.c_size_t)]\nhere = V(ctypes.addressof(buffer), 8)\nthere = V(ADDRESS, 8)\n"
           "print('OUT' if libc.process_vm_readv(PID, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 8 else '')"),
    Escape("a debugger on a process of the host", LIBC + "print('OUT' if PID > 64 and libc.ptrace(16, PID, 0, 0) == 0 else '')"),
    Escape("the server's memory and descriptors", "import os\nfor name in ('mem', 'environ', 'fd', 'root'):\n    try:\n        p = f'/proc/{os.getppid()}/{name}'\n"
           "        (os.listdir if name in ('fd', 'root') else open)(p)\n        print('OUT')\n    except OSError:\n        pass"),
    Escape("a debugger on the server", LIBC + "print('OUT' if libc.ptrace(16, os.getppid(), 0, 0) == 0 else '')"),
    Escape("inherited descriptors", "import os\nfor fd in range(4, 1024):\n    try:\n        os.fstat(fd)\n        print('OUT', fd)\n    except OSError:\n        pass"),
    Escape("powers of root", "import os, stat\nfor act in (lambda: os.chroot('/'), lambda: os.nice(-1), lambda: os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))):\n"
           "    try:\n        act()\n        print('OUT')\n    except OSError as no:\n        print(no)"),
    Escape("another user", "import os\nif os.getuid():\n    os.setresuid(0, 0, 0)\n    print('OUT')"),
    Escape("processes beyond the limit", "import os, time\nmade = 0\ntry:\n    for _ in range(300):\n        if os.fork() == 0:\n            time.sleep(3)\n            os._exit(0)\n"
           "        made += 1\nfinally:\n    print('OUT' if made > 8 else made)", quick=False),
    Escape("threads beyond the limit", "import threading, time\nmade = 0\ntry:\n    for _ in range(300):\n        threading.Thread(target=time.sleep, args=(3,), daemon=True).start()\n"
           "        made += 1\nfinally:\n    print('OUT' if made > 8 else made)", quick=False),
    Escape("memory beyond the limit", "kept = []\nfor _ in range(64):\n    kept.append(bytearray(64 << 20))\nprint('OUT')", quick=False),
    Escape("memory by files without a name", "import os\nroom = 0\nwhile room < 640 << 20:\n    f = os.memfd_create('x')\n    for _ in range(15):\n"
           "        room += os.write(f, bytes(1 << 20))\nprint('OUT')", held="l", quick=False),
    Escape("disk beyond the limit", "import os\nroom = 0\nwhile room < 256 << 20:\n    with open(f'f{room}', 'wb', buffering=0) as f:\n        for _ in range(8):\n"
           "            n = f.write(bytes(1 << 20))\n            if n <= 0:\n                raise OSError('full')\n            room += n\nprint('OUT')", quick=False),
    Escape("files beyond the limit", "for n in range(20000):\n    open(f'f{n}', 'w').close()\nprint('OUT')", quick=False),
    Escape("output beyond the limit", "import os\nn = 0\nwhile n < 64 << 20:\n    n += os.write(1, bytes(65536))\nprint('OUT')", quick=False),
    Escape("time beyond the limit", "import time\nend = time.time() + TOO_LONG\nwhile time.time() < end:\n    pass\nprint('OUT')", quick=False),
    Escape("sleep beyond the limit", "import time\ntime.sleep(TOO_LONG)\nprint('OUT')", quick=False),
    Escape("limits are raised", "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\nprint('OUT')", quick=False),
    Escape("another program", "import os, sys\nfor path in ('/bin/sh', '/usr/bin/env', '/bin/true'):\n    try:\n        os.execv(path, [path, '-c', 'echo OUT'])\n"
           "    except OSError as no:\n        print(no)"),
    Escape("the interpreter again", "import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'print(\"O\" + \"UT\")'])", held="l", quick=False),
    Escape("namespaces of one's own", LIBC + "print('OUT' if libc.unshare(0x10000000) == 0 else '')", held="l", quick=False),
    Escape("keys of the kernel", CALL + "print('OUT' if libc.syscall(217 if arm else 248, b'user', b'bait', b'x', 1, -2) > 0 else '')", held="l", quick=False),
    Escape("io_uring, bpf, userfaultfd, perf", CALL + "room = ctypes.create_string_buffer(256)\n"
           "print('OUT' if libc.syscall(425, 4, room) >= 0 else '')\nprint('OUT' if libc.syscall(282 if arm else 323, 1) >= 0 else '')", held="l", quick=False),
    Escape("objects of System V", CALL + "print('OUT' if libc.shmget(KEY, 8, 0) >= 0 else '')", quick=False),
    Escape("the kernel's numbering of another machine", CALL + "print('OUT' if not arm and libc.syscall(0x40000000 + 39) > 0 else '')", held="l", quick=False),
    Escape("a forged result", "import json, os, struct\ndef say(m):\n    d = json.dumps(m).encode()\n    return struct.pack('>I', len(d)) + d\n"
           "forged = {'ended': 'finished', 'error': '', 'out': 'OUT', 'seconds': 0.0, 'cpu': 0.0, 'spent': False}\n"
           "for fd in range(3, 64):\n    try:\n        os.write(fd, say(forged))\n    except OSError:\n        pass", quick=False),
)
"""All of them. What one wall alone does not hold is the other's work, and `held` says so."""


@dataclass(frozen=True)
class Bait:
    values: dict[str, object]

    def code(self, escape: Escape, too_long: float = 30.0) -> str:
        """The escape with the bait in it, as constants before it."""
        return "".join(f"{name} = {value!r}\n" for name, value in {**self.values, "TOO_LONG": too_long}.items()) + escape.code


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
        yield Bait({"FILE": file, "PORT": tcp.getsockname()[1], "UDP": udp.getsockname()[1], "NAME": name, "GRAM": gram, "PID": os.getpid(), "ADDRESS": id(SECRET), "KEY": 0x5742}
        )
