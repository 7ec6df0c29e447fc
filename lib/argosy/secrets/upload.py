"""A cluster's secrets: made and gathered on the provisioning host, brought to the machines.

Every machine gets, in `/etc/SYSTEM/secrets/` (0700 root, files 0600):

    ca.crt etcd-{server,peer,client}.{crt,key}    of the cluster's own CA (argosy.pki)
    registry/config.json                          Docker's login for the registry
    NAME                                          for each NAME under `secrets:` in the configuration
    any file of secrets/CLUSTER/machine/          the user's own; settings.json there holds settings that are secret
    keys/NAME.pem                                 of secrets/CLUSTER/keys/: certificate (chain) and key that the routers
                                                  terminate TLS with
    .complete                                     the marker, last: systemd starts etcd and the install when it appears
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from argosy import atomic, pki, remote_shell
from argosy.config import FILE_NAME_PATTERN, Settings
from argosy.console import Report
from argosy.errors import CommandFailed, ConfigError
from argosy.host import Host, Hosts, joined
from argosy.machine_files import COMMON_SECRETS, MEMBER_SECRETS, Names, required_secrets
from argosy.model import Machine, Step
from argosy.operations import secret_sources
from argosy.operations.secret_sources import Source
from argosy.secret import Secret
from argosy.secret_transfer import APPLY, OBSERVE, Change, Observed, pack, parse_observed, plan_changes, summary

REGISTRY_LOGIN = "registry/config.json"
OVERLAY = "settings.json"
KEYS = "keys"
OURS = frozenset({*COMMON_SECRETS, *MEMBER_SECRETS, "registry", KEYS})
HERE = "here"


def required_names(settings: Settings) -> list[str]:
    """Return the files without which a machine that runs etcd does not start (its /etc/SYSTEM/required-secrets)."""
    return required_secrets(settings)


def ensure_local(settings: Settings, machines: Iterable[Machine], report: Report | None = None) -> None:
    """Make what may be made on this host: the CA, certificates, generated secrets, the registry's login. Idempotent."""
    pki.ensure_ca(settings.secrets_path)
    for source in _sources(settings):
        if secret_sources.ensure(settings, source) and report:
            report(HERE, f"made {source.path}")
    pki.ensure_operator_certificate(settings.secrets_path)
    for machine in machines:
        made = [it for it in pki.ensure_machine_certificates(settings.secrets_path, machine).values() if it.renewed]
        if made and report:
            report(HERE, f"made {len(made)} certificates for {machine.name}")


def registry_password(settings: Settings) -> Secret:
    """Return the registry's password, made when it is ours to make and there is none."""
    source = secret_sources.registry_password_source(settings)
    secret_sources.ensure(settings, source)
    return secret_sources.read(settings, source)


def local_files(settings: Settings, names: Iterable[str]) -> dict[str, Path]:
    """Return a file on this host for each of the secrets `names`, made when missing: what a container here mounts.

    A command's output is kept in secrets/CLUSTER/printed/, 0600. Raises ConfigError as `read` does.
    """
    return {name: _local_file(settings, name) for name in names}


def files_for(settings: Settings, machine: Machine) -> dict[str, Secret]:
    """Return every secret of `machine` by its file's name.

    Raises ConfigError naming the first one that is missing, and how to supply it.
    """
    contents = {**_common_files(settings), **_certificates(settings, machine)}
    return {name: secret for name, secret in contents.items() if secret is not None}


def plan(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> list[Step]:
    """Return what `upload` would do here and on each machine, changing nothing: file names, never values."""
    observed = differences(hosts, settings, machines)
    steps = [Step(HERE, f"make {path}") for path in to_make(settings)]
    for machine in machines:
        changes = observed[machine.name]
        if changes:
            steps += [Step(machine.name, f"run {line}") for line in settings.hooks.prepare_machine]
        steps += [Step(machine.name, str(change)) for change in changes]
    return steps


def to_make(settings: Settings) -> list[Path]:
    """Return the files that `ensure_local` would make here, beside certificates."""
    return [source.path for source in _sources(settings) if secret_sources.will_be_made(source)]


def wanted(settings: Settings, machines: Sequence[Machine]) -> dict[str, dict[str, str | None]]:
    """Return the SHA-256 of each file that each machine shall have, None for one that is still to be made; changes
    nothing. Raises ConfigError as `upload` does."""
    check(settings)
    common = _common_files(settings, made=False)
    return {it.name: _hashes({**common, **_certificates(settings, it, made=False)}) for it in machines}


def differences(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> dict[str, list[Change]]:
    """Return what `upload` would change on each machine; changes nothing."""
    hashes = wanted(settings, machines)

    def compare(host: Host) -> list[Change]:
        return plan_changes(hashes[host.name], observe(host, settings))

    return joined(hosts.each(compare, machines, what="Comparing secrets"))


def gather(settings: Settings, machines: Sequence[Machine], report: Report) -> dict[str, dict[str, Secret]]:
    """Make what is missing here and may be made, and return the files of each machine. Raises ConfigError."""
    check(settings)
    ensure_local(settings, machines, report)
    common = _common_files(settings)
    return {it.name: _present({**common, **_certificates(settings, it)}) for it in machines}


def upload(hosts: Hosts, settings: Settings, machines: Sequence[Machine], report: Report) -> dict[str, list[Change]]:
    """Bring each machine its secrets, in parallel, and return what changed on it; nothing where all was there already.

    Everything is gathered before any machine is touched. On each: hooks.prepare_machine (if anything is to change),
    then all files at once, the marker last (argosy.secret_transfer). Interrupted at any moment and run again, it ends
    in the same state. Raises HostsFailed when machines failed; the others are done.
    """
    files = gather(settings, machines, report)

    def bring_all(host: Host) -> list[Change]:
        return bring(host, settings, files[host.name], report)

    return joined(hosts.each(bring_all, machines, what="Uploading secrets"))


def bring(host: Host, settings: Settings, files: Mapping[str, Secret], report: Report) -> list[Change]:
    """Bring one machine its `files`, as `upload` does, and return what changed."""
    changes = _bring(host, settings, files, report)
    report(host.name, f"secrets: {summary(changes)}")
    return changes


def observe(host: Host, settings: Settings) -> Observed:
    """Return what is in the machine's folder of secrets: names and checksums."""
    shown = host.run(remote_shell.Script("compare secrets", OBSERVE, Names(settings.system).secrets), sudo=True)
    return parse_observed(shown.stdout)


def _bring(host: Host, settings: Settings, files: Mapping[str, Secret], report: Report) -> list[Change]:
    hashes = _hashes(files)
    changes = plan_changes(hashes, observe(host, settings))
    if changes and settings.hooks.prepare_machine:
        for line in settings.hooks.prepare_machine:
            report(host.name, f"runs {line}")
            host.run(line, sudo=True)
        # They may have mounted the very folder.
        changes = plan_changes(hashes, observe(host, settings))
    if changes:
        removed, archive = pack(changes, files)
        folder = Names(settings.system).secrets
        done = host.run(
            remote_shell.Script("write secrets", APPLY, folder, *removed), sudo=True, check=False, input=archive
        )
        if not done.ok:
            reason = "; ".join(done.stderr.split("\n")[:3]).strip("; ") or f"sh ended with {done.code}"
            raise CommandFailed(
                f"{host.name}: can't write {folder}: {reason}; then run cluster.upload-secrets again", done
            )
        unit = f"{settings.system}-secrets.service"
        host.run(remote_shell.Script("start what waits for secrets", AGAIN, unit), sudo=True)
    return changes


AGAIN = """\
set -eu
[ -d /run/systemd/system ] || exit 0
systemctl try-restart --no-block "$1"
"""
"""Where the first upload was complete, the path unit waits no more: start once again what follows from secrets, such as
an install that failed for a wrong password. Does nothing on a machine that is still to see its first marker."""


def check(settings: Settings) -> None:
    """Raise ConfigError for what only a change of the configuration or of the secrets folder can repair."""
    if not settings.registry.address:
        raise ConfigError("give HOST:PORT as the machines reach the registry", "registry.address")
    user_files = _user_files(settings)
    for name in settings.secrets:
        if name in user_files:
            raise ConfigError(f"{user_files[name]} is there too; keep one of the two", f"secrets.{name}")
        if name in OURS:
            raise ConfigError("this name is taken by a file of Argosy's own", f"secrets.{name}")
    for service, entry in settings.services.items():
        for name in entry.secrets:
            if name not in settings.secrets and name not in user_files:
                where = settings.secrets_path / "machine" / name
                raise ConfigError(
                    f"no secret {name!r}: add it under secrets:, or write {where}", f"services.{service}.secrets"
                )


def _common_files(settings: Settings, made: bool = True) -> dict[str, Secret | None]:
    """Return what is the same on every machine. Unless `made`, None stands for what a run would make."""
    files: dict[str, Secret | None] = {**_user_secrets(settings), **_router_keys(settings)}
    for name in settings.secrets:
        files[name] = _value(settings, secret_sources.named_source(settings, name), made)
    password = _value(settings, secret_sources.registry_password_source(settings), made)
    files[REGISTRY_LOGIN] = password and _registry_login(settings, password)
    return files


def _value(settings: Settings, source: Source, made: bool) -> Secret | None:
    return None if not made and secret_sources.will_be_made(source) else secret_sources.read(settings, source)


def _certificates(settings: Settings, machine: Machine, made: bool = True) -> dict[str, Secret | None]:
    folder = settings.secrets_path
    files: dict[str, Secret | None] = dict.fromkeys(it for it in (*COMMON_SECRETS, *MEMBER_SECRETS) if "/" not in it)
    if made:
        found = pki.ensure_machine_certificates(folder, machine)
    else:
        found = pki.current_machine_certificates(folder, machine, now=datetime.now(UTC))
    files |= {name: Secret(content) for name, content in pki.read_pairs(found).items()}
    if pki.authority_path(folder).exists():
        files["ca.crt"] = Secret(pki.authority_path(folder).read_bytes())
    return files


def _registry_login(settings: Settings, password: Secret) -> Secret:
    """Return Docker's config.json (https://docs.docker.com/reference/cli/docker/login/)."""
    secret = password.reveal().removesuffix(b"\n")  # a file often ends with a line break; the registry is told the same
    login = base64.b64encode(f"{settings.registry.user}:".encode() + secret).decode()
    registries = filter(None, (settings.registry.address, settings.discovered_registry))
    return Secret(json.dumps({"auths": {name: {"auth": login} for name in registries}}, indent=2).encode())


def _router_keys(settings: Settings) -> dict[str, Secret]:
    """Return the certificates of secrets/CLUSTER/keys/. Raises ConfigError for what HAProxy could not use."""
    folder = settings.secrets_path / KEYS
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not re.fullmatch(FILE_NAME_PATTERN, path.name) or path.suffix != ".pem":
            raise ConfigError("not NAME.pem: only certificates with their keys belong here", str(path))
        secret = secret_sources.read_file(settings, path, str(path))
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                "not a certificate (chain) followed by its own key, without a password, in PEM", str(path)
            ) from None
        found[f"{KEYS}/{path.name}"] = secret
    return found


def _no_password() -> str:
    """Stand for the password of an encrypted key: without it OpenSSL would ask on the terminal."""
    return ""


def _user_files(settings: Settings) -> dict[str, Path]:
    """Return the files of secrets/CLUSTER/machine/ by name."""
    folder = settings.secrets_path / "machine"
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not re.fullmatch(FILE_NAME_PATTERN, path.name):
            raise ConfigError("its name must be made of letters, digits, dots, dashes and underscores", str(path))
        if not path.is_file():
            raise ConfigError(f"not a file; only the files directly in {folder} go to the machines", str(path))
        if path.name in OURS:
            raise ConfigError("this name is taken by a file of Argosy's own; rename it", str(path))
        found[path.name] = path
    return found


def _user_secrets(settings: Settings) -> dict[str, Secret]:
    files = _user_files(settings)
    secrets = {name: secret_sources.read_file(settings, path, str(path)) for name, path in files.items()}
    if OVERLAY in secrets:
        _check_overlay(secrets[OVERLAY], files[OVERLAY])
    return secrets


def _check_overlay(secret: Secret, path: Path) -> None:
    """Refuse an overlay that is not {"KEY": "VALUE"}; the message shows keys, never values."""
    try:
        overlay = json.loads(secret.reveal())
    except ValueError:
        raise ConfigError("not JSON", str(path)) from None
    if not isinstance(overlay, dict):
        raise ConfigError('not an object such as {"database/password": "..."}', str(path))
    for key, value in overlay.items():
        if not isinstance(value, str):
            raise ConfigError(f"the value of {key} is not a text in quotes", str(path))


def _local_file(settings: Settings, name: str) -> Path:
    if name not in settings.secrets:
        path = _user_files(settings).get(name)
        if path is None:
            raise ConfigError("no such secret; add it under secrets:", f"secrets.{name}")
        return path
    source = secret_sources.named_source(settings, name)
    secret_sources.ensure(settings, source)
    value = secret_sources.read(settings, source)
    if not source.command:
        return source.path
    path = settings.secrets_path / "printed" / name
    atomic.ensure_private_folder(path.parent)
    atomic.write_if_changed(path, value.reveal(), mode=0o600)
    return path


def _sources(settings: Settings) -> list[Source]:
    named = [secret_sources.named_source(settings, name) for name in settings.secrets]
    return [*named, secret_sources.registry_password_source(settings)]


def _hashes(files: Mapping[str, Secret | None]) -> dict[str, str | None]:
    return {name: secret.sha256 if secret else None for name, secret in files.items()}


def _present(files: Mapping[str, Secret | None]) -> dict[str, Secret]:
    return {name: secret for name, secret in files.items() if secret is not None}
