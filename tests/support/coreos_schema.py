"""The keys and types of coreos-cloudinit's cloud-config, checked as its own validator does, but never lenient.

`coreos-cloudinit -validate` warns of unknown keys and wrong types and ignores them; here each is an error, and
so is a deprecated key. Sources, at https://github.com/flatcar/coreos-cloudinit/blob/main:
/config/{config,user,file,unit,update,locksmith,etc_hosts}.go (keys, types, valid values) and
/config/validate/rules.go (encodings, read-only folders). Left out: what deprecated or
foreign programs read (etcd, etcd2, fleet, flannel, oem), and locksmith's etcd password, since no secret belongs here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from argosy.errors import ConfigError

HEADER = "#cloud-config"


def _writable(path: str) -> str:
    if re.match(r"/+usr(/|$)", path):
        raise ValueError("a file can't be written under /usr, which is read-only")
    return path


Text = StrictStr
Permissions = Annotated[StrictStr, Field(pattern=r"^0?[0-7]{3,4}$")]
WritablePath = Annotated[StrictStr, Field(pattern=r"^/"), AfterValidator(_writable)]
Command = Literal["start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _User(_Section):
    name: Annotated[StrictStr, Field(min_length=1)]
    passwd: Text = ""
    ssh_authorized_keys: list[Text] = []
    gecos: Text = ""
    homedir: Text = ""
    no_create_home: StrictBool = False
    primary_group: Text = ""
    groups: list[Text] = []
    no_user_group: StrictBool = False
    system: StrictBool = False
    no_log_init: StrictBool = False
    shell: Text = ""


class _File(_Section):
    path: WritablePath
    content: Text = ""
    owner: Text = ""
    permissions: Permissions = "0644"
    encoding: Literal["base64", "b64", "gz", "gzip", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64"] | None = None


class _DropIn(_Section):
    name: Text
    content: Text


class _Unit(_Section):
    name: Annotated[StrictStr, Field(min_length=1)]
    mask: StrictBool = False
    enable: StrictBool = False
    runtime: StrictBool = False
    content: Text = ""
    command: Command | None = None
    drop_ins: list[_DropIn] = []


class _Update(_Section):
    reboot_strategy: Literal["etcd-lock", "reboot", "off"] | None = None
    group: Text = ""
    server: Text = ""


class _Locksmith(_Section):
    endpoint: Text = ""
    etcd_cafile: Text = ""
    etcd_certfile: Text = ""
    etcd_keyfile: Text = ""
    group: Text = ""
    window_start: Annotated[StrictStr, Field(pattern=r"^([A-Za-z]{3} )?[0-9]{1,2}:[0-9]{1,2}$")] | None = None
    window_length: Annotated[StrictStr, Field(pattern=r"^([0-9]+(\.[0-9]+)?[a-z]+)+$")] | None = None


class _CoreOS(_Section):
    locksmith: _Locksmith = _Locksmith()
    update: _Update = _Update()
    units: list[_Unit] = []


class _CloudConfig(_Section):
    hostname: Text = ""
    ssh_authorized_keys: list[Text] = []
    users: list[_User] = []
    write_files: list[_File] = []
    manage_etc_hosts: Literal["localhost"] | None = None
    coreos: _CoreOS = _CoreOS()


def check(text: str) -> None:
    """Raise ConfigError, with the dotted path of the first mistake, unless `text` is a cloud-config of this dialect."""
    if text.split("\n", 1)[0].rstrip() != HEADER:
        raise ConfigError(f"the first line must be {HEADER}", "cloud-config")
    try:
        _CloudConfig.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", "cloud-config") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(str(first["msg"]), ".".join(["cloud-config", *map(str, first["loc"])])) from None
