"""Which hosts are reached without the proxy of the environment.

A proxy leads to the internet. It cannot reach this machine's own servers, usually may not reach a
home network's, and would read what is meant for them. Not here: the requests themselves, nor
setting no_proxy (`process_environment.py`).
"""

import os
import socket
import urllib.request
from ipaddress import ip_address
from typing import Any

#: Both are read; the first one wins, for Python and for requests alike.
_RULES = ("no_proxy", "NO_PROXY")
#: The hosts that this process itself has added to no_proxy.
_added: set[str] = set()


def is_direct(host: str) -> bool:
    """Return whether `host` is reached without a proxy although the environment has one.

    This machine always is. Another machine in a private network is, unless the person has set
    no_proxy, even to an empty value: then only its rules count.
    """
    if not {"http", "https", "all"} & urllib.request.getproxies().keys():
        return False
    addresses = _addresses(host)
    if not addresses:  # the name is unknown here; the proxy may know it
        return False
    if all(address.is_loopback for address in addresses):
        return True
    # Not `is_private`: it misses the shared addresses of VPNs and providers (100.64.0.0/10).
    return not _has_rules() and not any(address.is_global for address in addresses)


def rules_with(host: str) -> str:
    """Return the value of no_proxy with which libraries also reach `host` without a proxy.

    Empty if they already do, or if the proxy is to be used. The host is remembered, so that our
    rule does not count as one of the person's.
    """
    if not is_direct(host):
        return ""
    rules = _rules()
    # A lone star means every host; next to other rules it means nothing.
    if "*" in rules or host in rules:
        return ""
    _added.add(host)
    return ",".join([*rules, host])


def _rules() -> list[str]:
    """Return the rules of no_proxy; a variable that is set but empty is one empty rule."""
    written = [os.environ[name] for name in _RULES if name in os.environ]
    if not written:
        return []
    return [rule.strip() for rule in next(filter(None, written), "").split(",")]


def _has_rules() -> bool:
    return any(rule not in _added for rule in _rules())


def _addresses(host: str) -> list[Any]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in infos]
