"""The types that settings are made of: what a name, an address, a port may look like."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from argosy.config.providers import IMPLEMENTATIONS
from argosy.config.references import parse_reference, split_place
from argosy.config.windows import parse_window
from argosy.errors import nearest

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
IMAGE_PATTERN = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
REPOSITORY_PATTERN = r"^([a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*)?$"
HOST_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
FILE_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"


def _address(value: str) -> str:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


def _interface(value: str) -> str:
    if value:
        try:
            address, _, prefix = value.partition("/")
            ipaddress.IPv4Interface((address, int(prefix)))
        except ValueError:
            raise ValueError(f"{value!r} is not an address with a prefix, such as 172.17.42.1/16") from None
    return value


def _network(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 network, such as 192.168.55.0/24") from None
    if network.prefixlen > 24:
        raise ValueError(f"{value!r} is too small: machines begin at its address .101, so it needs a /24 or wider")
    return value


def _registry_place(value: str) -> str:
    split_place(value)
    return value


def _registry_address(value: str) -> str:
    return _registry_place(value) if value else value


def _image(value: str) -> str:
    parse_reference(value)
    return value


def _window(value: str) -> str:
    parse_window(value)
    return value


def _provider(value: str) -> str:
    if value not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"no provider {value!r}{nearest(value, IMPLEMENTATIONS)}; known: {known}")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(f"{value!r} is not a name of lower-case letters, digits and dashes, at most 63 of them")
    return value


def _one_line(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("it holds a control character or a line break")
    return value


Name = Annotated[str, AfterValidator(_name)]
HostName = Annotated[str, Field(pattern=HOST_NAME_PATTERN)]
UserName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$")]
ImageName = Annotated[str, Field(pattern=IMAGE_PATTERN)]
FileName = Annotated[str, Field(pattern=FILE_NAME_PATTERN)]
EnvName = Annotated[str, Field(pattern=ENV_NAME_PATTERN)]
Line = Annotated[str, AfterValidator(_one_line)]
Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
RepositoryPath = Annotated[str, Field(pattern=REPOSITORY_PATTERN)]
RegistryAddress = Annotated[str, AfterValidator(_registry_address)]
RegistryPlace = Annotated[str, AfterValidator(_registry_place)]
Login = Annotated[str, Field(pattern=r"^[!-9;-~]+$")]
"""A user of a registry: `gitlab+deploy-token-1`, `robot$team`, `_json_key`. A colon ends it in basic authentication."""
Reference = Annotated[str, AfterValidator(_image)]
Interface = Annotated[str, AfterValidator(_interface)]
Network = Annotated[str, AfterValidator(_network)]
Window = Annotated[str, AfterValidator(_window)]
Platform = Annotated[str, Field(pattern=r"^linux/[a-z0-9]+(/v\d+)?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveSeconds = Annotated[float, Field(gt=0)]
PublishedPort = Annotated[str, Field(pattern=r"^(\d{1,3}(\.\d{1,3}){3}:)?\d{1,5}:\d{1,5}(/(tcp|udp))?$")]
SettingKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")]
ProviderName = Annotated[str, AfterValidator(_provider)]
Os = Literal["debian", "ubuntu", "flatcar", "fedora-coreos"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false for a number: to Python they are 1 and 0, and YAML's `on` and `yes` are true."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError(f"{str(value).lower()} is no number")
        return value


class Contradiction(ValueError):
    """A key of a section says what another one rules out. `path`: its dotted path below the section."""

    def __init__(self, message: str, path: str) -> None:
        self.path = path
        super().__init__(message)
