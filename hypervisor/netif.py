"""A virtual network device: Xen's netif rings between a guest and Domain-0 (public header ``io/netif.h``).

Transmit request, 12 bytes: grant reference u32, offset u16, flags u16, id u16, size u16; response: id u16,
status i16. Receive request, 8 bytes: id u16, padding, grant reference u32; response: id u16, offset u16,
flags u16, status i16 (the size). The back end joins all interfaces of one VLAN; VLANs never meet.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, HypervisorUsageError, RingError
from hypervisor.frames import PAGE
from hypervisor.ring import BackRing, FrontRing

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.link import Link
    from hypervisor.state import HostState

BUFFERS: Final = 8
"""Buffer pages for each direction."""
PAGES: Final = 2 + 2 * BUFFERS
"""Pages that a link of this device needs: two rings and the buffers."""
MIN_FRAME: Final = 14
ETHERTYPE: Final = 0x88B5
"""Local experiments (IEEE 802, 9.2.3): no frame of the model is one of a real protocol."""
MAX_FRAME: Final = 1514

_TX_REQUEST: Final = struct.Struct("<IHHHH")
_TX_RESPONSE: Final = struct.Struct("<Hh")
_RX_REQUEST: Final = struct.Struct("<HHI")
_RX_RESPONSE: Final = struct.Struct("<HHHh")
_OKAY, _ERROR = 0, -1
MAC_SIZE: Final = 6


@dataclass(slots=True)
class NetTally:
    """What passed a back end: ``tx`` from the guest, ``rx`` to it; cumulative."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0


class VlanSwitch:
    """Joins the interfaces of one VLAN: to the one addressed, to all others when that is none of them."""

    def __init__(self) -> None:
        self._backends: list[NetBackend] = []

    def plug(self, backend: NetBackend) -> None:
        """Add an interface; raises BadStateError where its address is in use."""
        if any(each.mac == backend.mac for each in self._backends):
            raise BadStateError("mac-in-use", f"address {backend.mac.hex(':')} is in use in this VLAN")
        self._backends.append(backend)

    def unplug(self, backend: NetBackend) -> None:
        """Remove an interface; one that is not there is no error."""
        self._backends = [each for each in self._backends if each is not backend]

    def forward(self, sender: NetBackend, frame: bytes) -> None:
        """Deliver a frame to the interface it is for, or to all but the sender."""
        others = [backend for backend in self._backends if backend is not sender]
        addressed = [backend for backend in others if backend.mac == frame[:6]]
        for backend in addressed or others:
            backend.deliver(frame)


class NetBackend:
    """Domain-0's half. ``attached`` tells whether the VLAN is still attached to the guest."""

    def __init__(
        self, link: Link, switch: VlanSwitch, mac: bytes, tally: NetTally, attached: Callable[[], bool]
    ) -> None:
        self.mac = mac
        self._link = link
        self._switch = switch
        self._tally = tally
        self._attached = attached
        self._tx = BackRing(link.back_pages[0], _TX_REQUEST.size)
        self._rx = BackRing(link.back_pages[1], _RX_REQUEST.size)

    def serve(self) -> None:
        """Forward all frames that wait; raises RingError for a broken ring."""
        while (entry := self._tx.take_request(_TX_REQUEST.size)) is not None:
            ref, offset, _, ident, size = _TX_REQUEST.unpack(entry)
            sent = self._forward(ref, offset, size)
            self._tx.put_response(_TX_RESPONSE.pack(ident, _OKAY if sent else _ERROR))
        self._link.back.send(self._link.back_port)

    def deliver(self, frame: bytes) -> None:
        """Put a frame into the guest's next free buffer; without one it is dropped, as on a wire.

        So it is where the guest has broken its ring or cut its link: the sender has nothing to do with that.
        """
        with suppress(RingError, HypervisorUsageError):
            self._deliver(frame)

    def _deliver(self, frame: bytes) -> None:
        if not self._attached():
            return
        entry = self._rx.take_request(_RX_REQUEST.size)
        if entry is None:
            return
        ident, _, ref = _RX_REQUEST.unpack(entry)
        page = self._link.buffer(ref)
        if page is not None:
            page.write(0, frame)
            self._tally.rx_packets += 1
            self._tally.rx_bytes += len(frame)
        self._rx.put_response(_RX_RESPONSE.pack(ident, 0, 0, _ERROR if page is None else len(frame)))
        self._link.back.send(self._link.back_port)

    def _forward(self, ref: int, offset: int, size: int) -> bool:
        page = self._link.buffer(ref)
        if page is None or not self._attached() or not MIN_FRAME <= size <= MAX_FRAME or offset + size > PAGE:
            return False
        frame = page.read(offset, size)
        if frame[6:12] != self.mac:
            return False
        self._tally.tx_packets += 1
        self._tally.tx_bytes += size
        self._switch.forward(self, frame)
        return True


class NetDevice:
    """The guest's half: sends and receives Ethernet frames."""

    def __init__(self, link: Link, backend: NetBackend, switch: VlanSwitch) -> None:
        self.mac = backend.mac
        self._link = link
        self._backend = backend
        self._switch = switch
        self._tx = FrontRing(link.front_pages[0], _TX_REQUEST.size)
        self._rx = FrontRing(link.front_pages[1], _RX_REQUEST.size)
        for index in range(BUFFERS):
            self._offer(index)

    def send(self, to: bytes, payload: bytes) -> None:
        """Send ``payload`` to a MAC address; raises BadStateError where the back end refuses it."""
        frame = to + self.mac + ETHERTYPE.to_bytes(2, "big") + payload
        if len(to) != MAC_SIZE or len(frame) > MAX_FRAME:
            raise BadStateError("frame", f"a frame has a 6-byte address and at most {MAX_FRAME} bytes")
        self._link.front_pages[2].write(0, frame)
        self._tx.put_request(_TX_REQUEST.pack(self._link.refs[2], 0, 0, 0, len(frame)))
        self._link.front.send(self._link.front_port)
        if self._link.back.take_signals(self._link.back_port):
            self._backend.serve()
        answer = self._tx.take_response(_TX_RESPONSE.size)
        if answer is None or _TX_RESPONSE.unpack(answer)[1] != _OKAY:
            raise BadStateError(
                "io-error", "the back end refused a frame: size, source address or attachment"
            )

    def receive(self) -> tuple[bytes, ...]:
        """Return all frames that have come, whole with their Ethernet header."""
        self._link.front.take_signals(self._link.front_port)
        frames = []
        while (answer := self._rx.take_response(_RX_RESPONSE.size)) is not None:
            ident, _, _, size = _RX_RESPONSE.unpack(answer)
            if size > 0:
                frames.append(self._link.front_pages[2 + BUFFERS + ident % BUFFERS].read(0, size))
            self._offer(ident % BUFFERS)
        return tuple(frames)

    def is_bound(self, state: HostState) -> bool:
        """Tell whether the link is there still; see :meth:`hypervisor.link.Link.is_bound`."""
        return self._link.is_bound(state)

    def disconnect(self) -> None:
        """Leave the VLAN and end the link."""
        self.abandon()
        self._link.disconnect()

    def abandon(self) -> None:
        """Leave the VLAN of a guest that was destroyed: what it had bound is gone already."""
        self._switch.unplug(self._backend)

    def _offer(self, index: int) -> None:
        self._rx.put_request(_RX_REQUEST.pack(index, 0, self._link.refs[2 + BUFFERS + index]))


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of ``00:16:3e:…``."""
    return bytes.fromhex(text.replace(":", ""))
