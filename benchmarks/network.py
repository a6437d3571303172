"""A loopback network of our own, where the kernel does not pace what the servers send.

Congestion control has nothing to do on a loopback device, but where the machine's default paces (as BBR
does) a connection waits for a timer while its server is idle, and the figures say more about the pacing
than about the servers. A network namespace has its own default, its own ports and no firewall rules.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
PACING = frozenset({"bbr"})


def enter_private_network() -> str | None:
    """Move this process (and what it will start) to a network of its own; why not, where refused."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return os.strerror(ctypes.get_errno())
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{uid} {uid} 1")
    (own / "gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    CONGESTION_CONTROL.write_text("reno")
    return None


def congestion_control() -> str:
    """What the servers' connections are subject to."""
    return CONGESTION_CONTROL.read_text().strip()
