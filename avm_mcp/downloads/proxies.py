"""Proxies of the environment: whether a host of videos is reached through one, which then looks its name up.

Who sits behind a proxy often cannot look up names of the world outside, and some proxies refuse bare addresses.
"""

from urllib.request import getproxies


def proxied(scheme: str, host: str) -> bool:
    """Return whether a pool that trusts the environment reaches this host through a proxy.

    In doubt it does not: then the name is looked up and judged here. So an exception in `NO_PROXY` is read as widely as
    any library reads it.
    """
    proxies = getproxies()  # where the pool has its own from
    if not (proxies.get(scheme) or proxies.get("all")):
        return False
    return not any(_excepts(entry.strip().lower(), host) for entry in proxies.get("no", "").split(",") if entry.strip())


def _excepts(entry: str, host: str) -> bool:
    name = entry.rpartition("://")[2].partition(":")[0].lstrip("*.")
    return not name or host.lower().endswith(name)
