"""The router's own TLS certificates: from the machine's keys folder into HAProxy, checked, without a reload."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from argosy import atomic
from argosy.agent.log import log
from argosy.agent.router.haproxy import Haproxy
from argosy.schema import Problem

_log = log("certificates")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.pem")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_Seen = tuple[int, int, int, int]


class CertificateFolder:
    """Copies of all good certificates of a folder, where the router finds them.

    Each *.pem of `source` holds a certificate, the chain behind it, and the key. A bad one is reported, and the copy
    of the last good one of that name is kept. A copy goes when its source goes. Used by the router's thread alone.
    """

    def __init__(self, source: Path, target: Path) -> None:
        """`target`: certs/ in the router's folder; made here, 0700, the copies 0600."""
        self._source = source
        self.folder = target
        self._seen: dict[str, _Seen] = {}
        self._bad: dict[str, str] = {}
        self._looked = False
        self.names: dict[str, str] = {}
        """Each good certificate's name -> the SHA-1 of it, as HAProxy tells it (upper-case hexadecimal)."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(Problem("", str(self._source / name), reason) for name, reason in sorted(self._bad.items()))

    def path(self, name: str) -> Path:
        """Return where the copy is."""
        return self.folder / name

    def refresh(self) -> frozenset[str]:
        """Take in what changed in the source; return the names of the copies that were made, replaced or removed.

        Costs a stat of each file when nothing did, so it may be done every second. A source that can't be read costs
        nothing that was taken in before. Raises OSError when the target can't be written.
        """
        if not self._looked:
            atomic.ensure_private_folder(self.folder)
            self._remember_copies()
            self._looked = True
        try:
            there = _look(self._source)
        except OSError as error:
            self._note_bad("", f"can't be read: {error.strerror or error}; what was taken in before is used")
            return frozenset()
        self._bad.pop("", None)
        changed = set()
        for name, seen in there.items():
            if self._seen.get(name) != seen and self._take(name, seen):
                changed.add(name)
        for name in [name for name in {*self._seen, *self.names, *self._bad} if name not in there]:
            changed |= self._drop(name)
        return frozenset(changed)

    def _remember_copies(self) -> None:
        """Find the copies that an earlier agent made; they were checked then."""
        for path in sorted(self.folder.glob("*.pem")):
            try:
                self.names[path.name] = fingerprint(path.read_text())
            except (OSError, ValueError) as error:
                _log.warning("%s is no good copy (%s)", path, error)
                path.unlink(missing_ok=True)

    def _take(self, name: str, seen: _Seen) -> bool:
        """Copy a certificate that is new or was changed; return whether the copy is another than before."""
        try:
            text = _tidy((self._source / name).read_bytes())
            changed = self._copy(name, text)
        except (OSError, ValueError) as error:
            # ssl.SSLError is an OSError, a key that does not fit a ValueError or the former. Some can't be read yet.
            kept = "; the last good one is used" if name in self.names else ""
            self._note_bad(name, f"not used: {_words(error)}{kept}")
            if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
                self._seen[name] = seen
            return False
        self._seen[name] = seen
        self._bad.pop(name, None)
        self.names[name] = fingerprint(text)
        if changed:
            _log.info("%s is in use now", self._source / name)
        return changed

    def _copy(self, name: str, text: str) -> bool:
        """Put the certificate in its place if it is good; return whether it was another."""
        if not _NAME.fullmatch(name):
            raise ValueError("its name may hold only A-Z a-z 0-9 _ . -")
        if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or "Proc-Type: 4,ENCRYPTED" in text:
            raise ValueError("its key has a password")
        fingerprint(text)
        # Not in the target: HAProxy would read it there.
        candidate = self.folder.parent / f".{name}.candidate"
        atomic.write(candidate, text.encode(), mode=0o600)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(candidate)
            place = self.path(name)
            if place.is_file() and place.read_text() == text:
                return False
            candidate.replace(place)
        finally:
            candidate.unlink(missing_ok=True)
        return True

    def _note_bad(self, name: str, reason: str) -> None:
        if self._bad.get(name) != reason:
            _log.warning("%s: %s", self._source / name, reason)
        self._bad[name] = reason

    def _drop(self, name: str) -> set[str]:
        self._seen.pop(name, None)
        self._bad.pop(name, None)
        if self.names.pop(name, None) is None:
            return set()
        self.path(name).unlink(missing_ok=True)
        _log.info("%s is gone, and no longer used", self._source / name)
        return {name}


def sync_certificates(haproxy: Haproxy, certificates: CertificateFolder, changed: Iterable[str] = ()) -> bool:
    """Make HAProxy use the copies as they are now, without a reload; return whether it does.

    `changed`: those whose chain or key may be another though the certificate is the same. A HAProxy without TLS uses
    none, rightly. Raises OSError when it does not answer.
    """
    loaded = loaded_certificates(haproxy, certificates.folder)
    if loaded is None:
        return True
    wanted = certificates.names
    texts = {name: certificates.path(name).read_text() for name in wanted}
    commands = plan_certificate_changes(certificates.folder, loaded, wanted, changed, texts)
    if commands:
        haproxy.run(commands)
        loaded = loaded_certificates(haproxy, certificates.folder)
    return loaded == wanted


def loaded_certificates(haproxy: Haproxy, folder: Path) -> dict[str, str] | None:
    """Return the certificates that HAProxy uses from `folder`: name -> SHA-1; None when it has no TLS from there."""
    if str(folder) not in haproxy.ask("show ssl crt-list").splitlines():
        return None
    paths = parse_crt_list(haproxy.ask(f"show ssl crt-list -n {folder}"))
    return {Path(path).name: parse_fingerprint(haproxy.ask(f"show ssl cert {path}")) for path in paths}


def plan_certificate_changes(
    folder: Path, loaded: Mapping[str, str], wanted: Mapping[str, str], changed: Iterable[str], texts: Mapping[str, str]
) -> list[str]:
    """Return the commands that make HAProxy use the `wanted` certificates in place of the `loaded` ones. Pure.

    `changed`: those whose chain or key may be another though the certificate is the same; `texts`: what they hold.
    https://docs.haproxy.org/2.6/management.html#9.3-new%20ssl%20cert
    """
    commands = []
    renewed = set(changed)
    for name in sorted(wanted):
        path = folder / name
        if name in loaded and loaded[name] == wanted[name] and name not in renewed:
            continue
        if name not in loaded:
            commands.append(f"new ssl cert {path}")
        # The payload ends with an empty line; `texts` hold none.
        commands += [f"set ssl cert {path} <<\n{texts[name]}", f"commit ssl cert {path}"]
        if name not in loaded:
            commands.append(f"add ssl crt-list {folder} {path}")
    for name in sorted(set(loaded) - set(wanted)):
        commands += [f"del ssl crt-list {folder} {folder / name}", f"del ssl cert {folder / name}"]
    return commands


def parse_crt_list(answer: str) -> list[str]:
    """Return the files of `show ssl crt-list -n FOLDER`: a line `PATH:NUMBER` for each."""
    lines = (line.split(" ")[0] for line in answer.splitlines() if line and not line.startswith("#"))
    return [line.rpartition(":")[0] for line in lines]


def parse_fingerprint(answer: str) -> str:
    """Return the SHA-1 of `show ssl cert PATH`, empty when it tells none."""
    prefix = "SHA1 FingerPrint: "
    return next((line.removeprefix(prefix) for line in answer.splitlines() if line.startswith(prefix)), "")


def fingerprint(text: str) -> str:
    """Return the SHA-1 of the first certificate in `text`. Raises ValueError when there is none."""
    found = _CERTIFICATE.search(text)
    if not found:
        raise ValueError("it holds no certificate")
    # Not for security: it is what HAProxy names a certificate by.
    return hashlib.sha1(ssl.PEM_cert_to_DER_cert(found[0]), usedforsecurity=False).hexdigest().upper()


def _look(folder: Path) -> dict[str, _Seen]:
    """Return what tells a change of each *.pem in `folder`; none when there is no such folder. Raises OSError for one
    that can't be read."""
    found = {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    for path in (path for path in paths if path.suffix == ".pem"):
        try:
            told = path.stat()
        except FileNotFoundError:
            continue
        found[path.name] = (told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino)
    return found


def _tidy(data: bytes) -> str:
    """Return a PEM file without empty lines, which would end it on HAProxy's socket. Raises ValueError for no text."""
    lines = data.decode("ascii").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip())


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"OpenSSL refuses it ({error.reason or error})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
