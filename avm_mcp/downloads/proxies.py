"""Whether a host is reached through a proxy of the environment, which then resolves the host's name.

Behind a proxy, public names often cannot be resolved locally, and some proxies refuse addresses instead of names.
"""

from urllib.request import getproxies


def uses_proxy(scheme: str, host: str) -> bool:
    """Return whether a pool that trusts the environment reaches this host through a proxy.

    In doubt, the answer is no, and the name is resolved and checked here. An entry of `NO_PROXY` therefore matches
    whatever it matches in any library.
    """
    proxies = getproxies()  # as the pool does
    if not (proxies.get(scheme) or proxies.get("all")):
        return False
    return not any(_matches(entry.strip().lower(), host) for entry in proxies.get("no", "").split(",") if entry.strip())


def _matches(entry: str, host: str) -> bool:
    name = entry.rpartition("://")[2].partition(":")[0].lstrip("*.")
    return not name or host.lower().endswith(name)
