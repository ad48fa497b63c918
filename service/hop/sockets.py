"""The hop's Unix sockets: whole messages, with shared memory beside them, between processes of one user."""

import os
import socket
import struct
from typing import Final

from service.hop.messages import MOST_BYTES, Malformed
from service.hop.region import Region

# What the server says first, so that a client knows that somebody is there to answer.
HELLO: Final = b"signpost"

_DESCRIPTOR: Final = struct.Struct("i")
_ROOM: Final = socket.CMSG_LEN(_DESCRIPTOR.size)  # of one; the kernel closes further ones
_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group


def make() -> socket.socket:
    """A socket that keeps messages apart and knows when its peer is gone."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def is_ours(connection: socket.socket) -> bool:
    """Whether the process at the other end runs for the same user as this one."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(told)
    return bool(user == os.geteuid())


def send(connection: socket.socket, message: bytes, region: Region | None = None) -> None:
    """Send a message, with a region that the other end does not have yet; its descriptor is closed then.

    Raises:
        OSError: it is not sent.
    """
    if region is None:
        connection.send(message)
    else:
        socket.send_fds(connection, [message], [region.descriptor])
        region.close()


def receive(connection: socket.socket, region: Region | None) -> tuple[bytes, Region | None]:
    """The next message, and the region in which its tensors lie: the one that came with it, or else the former one.

    The message is empty when the other end is gone.

    Raises:
        OSError: nothing came in time, or the connection is lost.
        Malformed: what came with it is not such a region.
    """
    message, beside, flags, _ = connection.recvmsg(MOST_BYTES, _ROOM, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            region = Region(*_DESCRIPTOR.unpack(data))
            region.close()
    if flags & socket.MSG_TRUNC:
        raise Malformed(f"The message is longer than {MOST_BYTES} bytes.")
    return message, region
