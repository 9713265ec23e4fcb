"""The lab's door into dom0: runs commands that come over a serial line, one at a time.

A request is a line of base64: the command for ``sh -c``. The answer is a line ``RC n BYTES`` and that many
bytes of base64, its output. An empty line is answered by ``LABD``, so that the lab knows who listens.
It is the lab's own, not part of the product.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import termios
import tty

SECONDS = 300


def main() -> None:
    with open(sys.argv[1], "r+b", buffering=0) as line:  # noqa: PTH123
        tty.setraw(line.fileno(), termios.TCSANOW)
        buffer = b""
        while True:
            buffer += line.read(4096)
            while b"\n" in buffer:
                request, _, buffer = buffer.partition(b"\n")
                write(line, answer(request) if request.strip() else b"LABD\n")


def write(line: io.RawIOBase, data: bytes) -> None:
    while data:
        data = data[line.write(data) or 0 :]


def answer(request: bytes) -> bytes:
    try:
        command = base64.b64decode(request, validate=True).decode()
    except ValueError:
        return b"RC 255 0\n\n"
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
        )  # fmt: skip
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, error.output or b""
    said = base64.b64encode(output)
    return b"RC %d %d\n%s\n" % (code, len(said), said)


main()
