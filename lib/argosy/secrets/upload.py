"""A cluster's secrets: made and gathered on the provisioning host, brought to a machine (see argosy.secrets.syncing).

Every machine gets, in `/etc/SYSTEM/secrets/` (0700 root, files 0600):

    ca.crt etcd-{server,peer,client}.{crt,key}    of the cluster's own CA (argosy.pki.authority)
    registry/config.json                          Docker's login for the registry
    NAME                                          for each NAME under `secrets:` in the configuration
    any file of secrets/CLUSTER/machine/          the user's own; settings.json there holds settings that are secret
    keys/NAME.pem                                 of secrets/CLUSTER/keys/: certificate (chain) and key that the routers
                                                  terminate TLS with
    fingerprint.key                               of the fingerprints in the cluster's record (argosy.secrets.checkout)
    .complete                                     the marker, last: systemd starts etcd and the install when it appears
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from argosy import atomic
from argosy.config.loading import FILE_NAME_PATTERN, Settings
from argosy.errors import CommandFailed, ConfigError, StalePlan
from argosy.fanout import joined
from argosy.model import Machine
from argosy.paths import Names
from argosy.pki import authority
from argosy.report import Report, silent
from argosy.secrets import sources
from argosy.secrets.checkout import key_source, refuse_lost
from argosy.secrets.logins import docker_config
from argosy.secrets.names import COMMON_SECRETS, FINGERPRINT_KEY, MEMBER_SECRETS
from argosy.secrets.sources import Source
from argosy.secrets.transfer import APPLY, OBSERVE, Change, Observed, pack, parse_observed, plan_changes, summary
from argosy.secrets.value import Secret
from argosy.ssh import shell
from argosy.ssh.host import Host, Hosts

REGISTRY_LOGIN = "registry/config.json"
OVERLAY = "settings.json"
KEYS = "keys"
OURS = frozenset({*COMMON_SECRETS, *MEMBER_SECRETS, "registry", KEYS, FINGERPRINT_KEY})
HERE = "here"


def ensure_local(settings: Settings, machines: Iterable[Machine], report: Report = silent) -> None:
    """Make what may be made on this host: the CA, certificates, generated secrets, the registry's login. Idempotent."""
    authority.ensure_ca(settings.secrets_path)
    for source in (*_sources(settings), key_source(settings)):
        if sources.ensure(settings, source):
            report(HERE, f"made {source.path}")
    authority.ensure_operator_certificate(settings.secrets_path)
    for machine in machines:
        made = [
            certificate
            for certificate in authority.ensure_machine_certificates(settings.secrets_path, machine).values()
            if certificate.renewed
        ]
        if made:
            report(HERE, f"made {len(made)} certificates for {machine.name}")


def registry_password(settings: Settings) -> Secret:
    """Return the registry's password, made when it is ours to make and there is none.

    Raises Refused when it is not here and the machines have it.
    """
    source = sources.registry_password_source(settings)
    if sources.will_be_made(source):
        refuse_lost(settings, REGISTRY_LOGIN)
    sources.ensure(settings, source)
    return sources.read(settings, source)


def local_files(settings: Settings, names: Iterable[str]) -> dict[str, Path]:
    """Return a file on this host for each of the secrets `names`, made when missing: what a container here mounts.

    A command's output is kept in secrets/CLUSTER/printed/, 0600. Raises ConfigError as `read` does.
    """
    return {name: _local_file(settings, name) for name in names}


def to_make(settings: Settings) -> list[Path]:
    """Return the files that `ensure_local` would make here, beside certificates and the fingerprints' key."""
    return [source.path for source in _sources(settings) if sources.will_be_made(source)]


def wanted(settings: Settings, machines: Sequence[Machine]) -> dict[str, dict[str, str | None]]:
    """Return the SHA-256 of each file that each machine must have, None for one that is still to be made; changes
    nothing. Raises ConfigError as `gather` does."""
    check(settings)
    common = _common_files(settings, made=False)
    return {machine.name: _hashes({**common, **_certificates(settings, machine, made=False)}) for machine in machines}


def differences(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> dict[str, list[Change]]:
    """Return what an upload would change on each machine; changes nothing."""
    hashes = wanted(settings, machines)

    def compare(host: Host) -> list[Change]:
        return plan_changes(hashes[host.name], observe(host, settings))

    return joined(hosts.each(compare, machines, what="Comparing secrets"))


def gather(settings: Settings, machines: Sequence[Machine], report: Report) -> dict[str, dict[str, Secret]]:
    """Make what is missing here and may be made, and return the files of each machine. Raises ConfigError."""
    check(settings)
    ensure_local(settings, machines, report)
    common = _common_files(settings)
    return {machine.name: _present({**common, **_certificates(settings, machine)}) for machine in machines}


def bring(
    host: Host,
    settings: Settings,
    files: Mapping[str, Secret],
    report: Report,
    seen: Mapping[str, str] | None = None,
) -> list[Change]:
    """Bring one machine its `files`, all at once and the marker last, and return what changed. Idempotent.

    hooks.prepare_machine comes first, if anything is to change. Interrupted at any moment and run again, it ends in the
    same state. `seen`: what the machine held when it was decided to do so; raises StalePlan when it holds something
    else, unless it is not given.
    """
    hashes = _hashes(files)
    observed = observe(host, settings)
    changes = plan_changes(hashes, observed)
    if changes and settings.hooks.prepare_machine:
        for line in settings.hooks.prepare_machine:
            report(host.name, f"runs {line}")
            host.run(line, sudo=True)
        # They may have mounted the very folder.
        observed = observe(host, settings)
        changes = plan_changes(hashes, observed)
    if seen is not None:
        _refuse_unseen(host, hashes, observed, seen)
    if changes:
        _write(host, settings, changes, files)
    report(host.name, f"secrets: {summary(changes)}")
    return changes


def _refuse_unseen(host: Host, hashes: Mapping[str, str | None], observed: Observed, seen: Mapping[str, str]) -> None:
    there = observed.files
    found = [name for name, value in there.items() if value not in (hashes.get(name), seen.get(name))]
    if found:
        raise StalePlan(f"{host.name}: it holds another {', '.join(found)} than a moment ago: run the same again")


def observe(host: Host, settings: Settings) -> Observed:
    """Return what is in the machine's folder of secrets: names and checksums."""
    shown = host.run(shell.Script("compare secrets", OBSERVE, Names(settings.system).secrets), sudo=True)
    return parse_observed(shown.stdout)


def _write(host: Host, settings: Settings, changes: Sequence[Change], files: Mapping[str, Secret]) -> None:
    removed, archive = pack(changes, files)
    folder = Names(settings.system).secrets
    done = host.run(shell.Script("write secrets", APPLY, folder, *removed), sudo=True, check=False, input=archive)
    if not done.ok:
        reason = "; ".join(done.stderr.split("\n")[:3]).strip("; ") or f"sh ended with {done.code}"
        raise CommandFailed(f"{host.name}: can't write {folder}: {reason}; then run cluster.upload-secrets again", done)
    unit = f"{settings.system}-secrets.service"
    host.run(shell.Script("start what waits for secrets", AGAIN, unit), sudo=True)


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
        files[name] = _value(settings, sources.named_source(settings, name), made)
    files[FINGERPRINT_KEY] = _value(settings, key_source(settings), made)
    password = _value(settings, sources.registry_password_source(settings), made)
    others = {place: _value(settings, sources.login_source(settings, place), made) for place in settings.registries}
    files[REGISTRY_LOGIN] = password and docker_config(settings, password, _present(others))
    return files


def _value(settings: Settings, source: Source, made: bool) -> Secret | None:
    return None if not made and sources.will_be_made(source) else sources.read(settings, source)


def _certificates(settings: Settings, machine: Machine, made: bool = True) -> dict[str, Secret | None]:
    folder = settings.secrets_path
    files: dict[str, Secret | None] = dict.fromkeys(
        secret for secret in (*COMMON_SECRETS, *MEMBER_SECRETS) if "/" not in secret
    )
    if made:
        found = authority.ensure_machine_certificates(folder, machine)
    else:
        found = authority.current_machine_certificates(folder, machine, now=datetime.now(UTC))
        # A certificate that is renewed keeps its key.
        files |= {name: Secret(content) for name, content in authority.read_machine_keys(folder, machine).items()}
    files |= {name: Secret(content) for name, content in authority.read_pairs(found).items()}
    if authority.authority_path(folder).exists():
        files["ca.crt"] = Secret(authority.authority_path(folder).read_bytes())
    return files


def _router_keys(settings: Settings) -> dict[str, Secret]:
    """Return the certificates of secrets/CLUSTER/keys/. Raises ConfigError for what HAProxy could not use."""
    folder = settings.secrets_path / KEYS
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not re.fullmatch(FILE_NAME_PATTERN, path.name) or path.suffix != ".pem":
            raise ConfigError("not NAME.pem: only certificates with their keys belong here", str(path))
        secret = sources.read_file(settings, path, str(path))
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
    secrets = {name: sources.read_file(settings, path, str(path)) for name, path in files.items()}
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
    source = sources.named_source(settings, name)
    sources.ensure(settings, source)
    value = sources.read(settings, source)
    if not source.command:
        return source.path
    path = settings.secrets_path / "printed" / name
    atomic.ensure_private_folder(path.parent)
    atomic.write_if_changed(path, value.reveal(), mode=0o600)
    return path


def _sources(settings: Settings) -> list[Source]:
    named = [sources.named_source(settings, name) for name in settings.secrets]
    logins = [sources.login_source(settings, place) for place in settings.registries]
    return [*named, *logins, sources.registry_password_source(settings)]


def _hashes(files: Mapping[str, Secret | None]) -> dict[str, str | None]:
    return {name: secret.sha256 if secret else None for name, secret in files.items()}


def _present(files: Mapping[str, Secret | None]) -> dict[str, Secret]:
    return {name: secret for name, secret in files.items() if secret is not None}
