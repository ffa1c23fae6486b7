"""Which hosts are asked without the proxy of the environment: those that it is not there for.

A proxy leads to the internet. It cannot reach this machine's own servers, mostly may not reach a
home network's, and would read what is meant for them. Not here: the requests themselves,
nor writing the rules down (`process_environment.py`).
"""

import os
import socket
import urllib.request
from ipaddress import ip_address
from typing import Any

#: Both are read; the first one wins, for Python and for requests alike.
_RULES = ("no_proxy", "NO_PROXY")
#: The hosts that this process itself has put there.
_added: set[str] = set()


def is_direct(host: str) -> bool:
    """Whether `host` is asked without a proxy, though the environment has one.

    This machine always is. Another one of a private network is, unless the person has rules of
    their own in no_proxy, even empty ones: then these say it all.
    """
    if not {"http", "https", "all"} & urllib.request.getproxies().keys():
        return False
    addresses = _addresses(host)
    if not addresses:  # nobody here knows the name: the proxy may
        return False
    if all(address.is_loopback for address in addresses):
        return True
    # Not `is_private`: it leaves out the addresses that VPNs and providers share (100.64.0.0/10).
    return not _has_rules() and not any(address.is_global for address in addresses)


def rules_with(host: str) -> str:
    """Return the value of no_proxy with which libraries ask `host` without a proxy, too.

    Empty where they do so already, or where the proxy is to be asked. The host is remembered: a
    rule of ours is not one of the person's.
    """
    if not is_direct(host):
        return ""
    rules = _rules()
    # A star alone stands for every host; beside other rules it means nothing.
    if "*" in rules or host in rules:
        return ""
    _added.add(host)
    return ",".join([*rules, host])


def _rules() -> list[str]:
    """Return the rules as they stand; rules that are set and empty are one empty rule."""
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
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]
