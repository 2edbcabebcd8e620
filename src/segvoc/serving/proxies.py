"""The client's address behind proxies that the operator named."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Literal

from segvoc.errors import UsageError

ProxyHeader = Literal["x-forwarded-for", "forwarded"]
"""Header in which proxies say whom they ask for."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;,\s"]*)', re.IGNORECASE)


class Proxies:
    """Proxies in front of the service.

    Args:
        addresses: their addresses or networks, such as "10.0.0.0/8".
        header: the one header that they set. The other one comes from the client as it likes, so it isn't looked at.

    Raises:
        UsageError: one isn't an address or network.
    """

    def __init__(self, addresses: Sequence[str], header: ProxyHeader) -> None:
        self.header = header
        self._networks = [_network(address) for address in addresses]

    def __contains__(self, address: IpAddress | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, told: Sequence[str]) -> str:
        """The address of the client of a request: of those that proxies named, the last one that is no proxy's.

        Args:
            peer: the address that the connection comes from.
            told: what the request has in the header of the proxies, line by line.
        """
        address = ip_address(peer)
        if address is None or address not in self:
            return peer
        for entry in reversed(self._entries(told)):
            named = ip_address(_without_port(entry))
            if named is None:
                break  # "unknown", a hidden name, or nonsense: whom the last known proxy asks for isn't known
            address = named
            if address not in self:
                break
        return str(address)

    def _entries(self, told: Sequence[str]) -> list[str]:
        entries = [entry.strip() for line in told for entry in line.split(",")]
        if self.header == "x-forwarded-for":
            return entries
        found = (_FORWARDED_FOR.search(entry) for entry in entries)
        return ["" if one is None else one[1].strip('"') for one in found]


def ip_address(text: str) -> IpAddress | None:
    """An address, of which IPv4 in IPv6 is IPv4; None where the text isn't one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_name(address: str) -> str:
    """What limits count as one client: an address, or the network of 64 bits that one subscriber has of IPv6."""
    found = ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return address if found is None else str(found)


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(address, strict=False)
    except ValueError:
        raise UsageError(
            f"{address!r} is not the address of a proxy; give one such as '10.0.0.7', or a network such as '10.0.0.0/8'"
        ) from None
