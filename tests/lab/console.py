"""A prompt in dom0: this terminal is passed through to the machine's console."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path
from typing import Final

LEAVE: Final = b"\x1d"
"""Ctrl-]: it ends the conversation, and with it the machine."""


def talk(console: Path) -> None:
    """Pass keys and output until Ctrl-], the end of the input, or the machine's end."""
    terminal = sys.stdin.fileno()
    kept = termios.tcgetattr(terminal) if os.isatty(terminal) else None
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(console))
        line.sendall(b"\r")
        try:
            if kept is not None:
                tty.setraw(terminal)
            while True:
                ready, _, _ = select.select([terminal, line], [], [])
                if line in ready:
                    data = line.recv(65536)
                    if not data:
                        return
                    os.write(sys.stdout.fileno(), data)
                if terminal in ready:
                    keys = os.read(terminal, 1024)
                    if not keys or LEAVE in keys:
                        return
                    line.sendall(keys)
        finally:
            if kept is not None:
                termios.tcsetattr(terminal, termios.TCSADRAIN, kept)
