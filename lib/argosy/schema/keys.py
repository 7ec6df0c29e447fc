"""Pure. The names of the keys that discovery uses."""

from __future__ import annotations

SERVICES = "/services/"
CONFIG = "/config/services/"
MACHINES = "/machines/"
ROUTERS = "/routers/"
GENERATION = "generation/"
FOLLOWED = (SERVICES, CONFIG, MACHINES)
"""What a router depends on."""
SSL_SUPPORT = CONFIG + "ssl_support"
DEFAULT_SERVICE = CONFIG + "default"


def service_key(name: str, attribute: str) -> str:
    return f"{SERVICES}{name}/{attribute}"


def instance_key(name: str, instance: str) -> str:
    return service_key(name, f"hosts/{instance}")


def weight_key(name: str, instance: str) -> str:
    return service_key(name, f"weight/{instance}")


def drain_key(name: str, instance: str) -> str:
    return service_key(name, f"drain/{instance}")


def generation_key(name: str, generation: int | str) -> str:
    return service_key(name, f"{GENERATION}{generation}")


def machine_key(name: str) -> str:
    return MACHINES + name


def router_key(name: str) -> str:
    return ROUTERS + name


def router_problems_key(name: str) -> str:
    return f"{ROUTERS}{name}/problems"


def service_of(key: str) -> str:
    """Return the NAME of a key under /services/; it may be a bad one."""
    return key.removeprefix(SERVICES).partition("/")[0]
