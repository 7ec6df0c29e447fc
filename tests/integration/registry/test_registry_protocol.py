"""What a registry may answer that ours doesn't: tokens, pages elsewhere, redirects, a busy server. Over real TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from argosy.config.loading import load
from argosy.errors import Refused, RegistryError
from argosy.pki import authority
from argosy.registry.client import Registry
from argosy.registry.manifests import Config
from argosy.registry.trust import trust_registry
from argosy.report import silent

pytestmark = pytest.mark.integration

BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()
INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


CONFIG = json.dumps({"config": {"Labels": {"a": "1"}}}).encode()
IMAGE = json.dumps({"config": {"digest": sha256(CONFIG), "size": 2}, "layers": [{"digest": sha256(b"l"), "size": 40}]})
IMAGE_DIGEST = sha256(IMAGE.encode())


@dataclass
class Answer:
    status: int = 200
    document: object = None
    headers: Mapping[str, str | list[str]] = field(default_factory=dict)


Handler = Callable[["Server", str, dict[str, list[str]], str], Answer]


class Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that does not trust this server."""


class Http6(Http):
    address_family = socket.AF_INET6


class Server:
    """Answers by `handler(server, path, query, authorization)`. `asked`: every request's path and authorization."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.handler: Handler = lambda *_: Answer()
        self.asked: list[tuple[str, str]] = []
        pair = authority.ensure_registry_certificate(folder, [host])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server = (Http6 if ":" in host else Http)((host, 0), self._class())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"{f'[{host}]' if ':' in host else host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _class(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                authorization = self.headers.get("Authorization", "")
                server.asked.append((self.path, authorization))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = server.handler(server, url.path, parse_qs(url.query), authorization)
                body = answer.document if isinstance(answer.document, bytes) else json.dumps(answer.document).encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                    for each in value if isinstance(value, list) else [value]:
                        self.send_header(name, each)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815 (http.server's names)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Request


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Server]:
    """Another host, with a certificate of the same CA."""
    made = Server(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def registry(server: Server, tmp_path: Path) -> Iterator[Registry]:
    with Registry(server.address, "me", "hunter2", ca=authority.authority_path(tmp_path), timeout_seconds=5) as client:
        yield client


def with_token(server: Server, path: str, query: dict[str, list[str]], authorization: str) -> Answer:
    """A registry that takes tokens only: one for each repository, from its own /token."""
    if path == "/token":
        granted = f"for-{query['scope'][0].split(':')[1]}" if authorization == BASIC else ""
        return Answer(document={"token": granted}) if granted else Answer(401)
    name = path.removeprefix("/v2/").removesuffix("/tags/list")
    if authorization == f"Bearer for-{name}":
        return Answer(document={"tags": [name]})
    realm = f'Bearer realm="https://{server.address}/token",service="test",scope="repository:{name}:pull"'
    return Answer(401, headers={"WWW-Authenticate": realm})


class TestTokens:
    def test_are_fetched_with_the_password_and_used(self, server: Server, registry: Registry) -> None:
        server.handler = with_token
        assert registry.tags("air/web") == ["air/web"]
        assert registry.tags("air/api") == ["air/api"]
        assert [path for path, authorization in server.asked if authorization == BASIC] == [
            "/token?service=test&scope=repository%3Aair%2Fweb%3Apull",
            "/token?service=test&scope=repository%3Aair%2Fapi%3Apull",
        ]

    def test_with_a_wrong_password_it_is_refused_in_one_line(self, server: Server, tmp_path: Path) -> None:
        server.handler = with_token
        with (
            Registry(server.address, "me", "wrong", ca=authority.authority_path(tmp_path)) as registry,
            pytest.raises(RegistryError, match=r"token service refused user me or the password: compare"),
        ):
            registry.tags("air/web")

    def test_are_never_asked_for_without_tls(self, server: Server, registry: Registry) -> None:
        header = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/token"'}
        server.handler = lambda *_: Answer(401, headers=header)
        with pytest.raises(RegistryError, match=r"its token service http://127.0.0.1:1/token is not asked, since"):
            registry.check()

    @pytest.mark.parametrize(
        "challenges",
        [
            ["{bearer}, Basic realm=x"],
            ["Basic realm=x, {bearer}"],
            ["{bearer}", "Basic realm=x"],
            ["Basic realm=x", "{bearer}"],
            ["Negotiate", 'Bearer realm="http://127.0.0.1:1/token", {bearer}'],
        ],
    )
    def test_are_asked_for_wherever_their_challenge_stands(
        self, server: Server, registry: Registry, challenges: list[str]
    ) -> None:
        def several(here: Server, path: str, query: dict[str, list[str]], authorization: str) -> Answer:
            answer = with_token(here, path, query, authorization)
            if answer.status == 401:
                bearer = str(answer.headers["WWW-Authenticate"])
                return Answer(
                    401, headers={"WWW-Authenticate": [text.replace("{bearer}", bearer) for text in challenges]}
                )
            return answer

        server.handler = several
        assert registry.tags("air/web") == ["air/web"]

    def test_without_a_safe_realm_the_password_does(self, server: Server, registry: Registry) -> None:
        header = {"WWW-Authenticate": ['Bearer realm="http://127.0.0.1:1/token"', "Basic realm=x"]}
        server.handler = lambda _here, _path, _query, authorization: (
            Answer(document={"tags": ["0.1.0"]}) if authorization == BASIC else Answer(401, headers=header)
        )
        assert registry.tags("air/web") == ["0.1.0"]

    def test_a_realm_may_have_a_query_and_a_challenge_several_scopes(self, server: Server, registry: Registry) -> None:
        realm = f'Bearer realm="https://{server.address}/token?tenant=7",service="a b",scope="one:x:pull two:y:pull"'

        def handler(_here: Server, path: str, query: dict[str, list[str]], authorization: str) -> Answer:
            if path == "/token":
                assert query == {"tenant": ["7"], "service": ["a b"], "scope": ["one:x:pull", "two:y:pull"]}
                return Answer(document={"access_token": "t"})
            good = authorization == "Bearer t"
            return Answer(document={"tags": []}) if good else Answer(401, headers={"WWW-Authenticate": realm})

        server.handler = handler
        assert registry.tags("air/web") == []
        assert sum(path.startswith("/token") for path, _ in server.asked) == 1

    def test_are_kept_for_each_repository(self, server: Server, registry: Registry) -> None:
        server.handler = with_token
        for name in ("air/web", "air/api") * 2:
            assert registry.tags(name) == [name]
        assert sum(path.startswith("/token") for path, _ in server.asked) == 2

    def test_threads_do_not_use_each_other_s(self, server: Server, registry: Registry) -> None:
        server.handler = with_token
        names = [f"air/{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(registry.tags, names)) == [[name] for name in names]

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(404),
            Answer(404, {"errors": []}),
            Answer(403),
            Answer(200),
            Answer(200, b"<html>sign in</html>"),
            Answer(200, ["token"]),
            Answer(200, {"token": ""}),
            Answer(200, {"token": 1}),
            Answer(200, {"token": "\xe9"}),
            Answer(200, {"token": "a b"}),
            Answer(200, b"[" * 100_000),
            Answer(200, {"tags": None}),
            Answer(302, headers={"Location": "/elsewhere"}),
        ],
    )
    def test_a_token_service_without_a_token_is_no_word_of_the_registry(
        self, server: Server, registry: Registry, answer: Answer
    ) -> None:
        def broken(here: Server, path: str, query: dict[str, list[str]], _authorization: str) -> Answer:
            return answer if path == "/token" else with_token(here, path, query, "")

        server.handler = broken
        for look in (
            lambda: registry.tags("air/web"),
            lambda: registry.digest("air/web", "0.1.0"),
            lambda: registry.manifest("air/web", "0.1.0"),
            lambda: registry.delete("air/web", "sha256:m"),
        ):
            with pytest.raises(RegistryError, match=r"^127.0.0.1: .*token service"):
                look()

    def test_one_that_can_not_be_reached_is_told_by_its_own_address(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(401, headers={"WWW-Authenticate": 'Bearer realm="https://127.0.0.1:1/t"'})
        with pytest.raises(RegistryError, match=f"^{server.address}: the registry leads to 127.0.0.1:1, for a token"):
            registry.tags("air/web")

    @pytest.mark.parametrize("realm", ["https://[::1/t", "https://a/\x01"])
    def test_a_realm_that_is_no_address_is_told(self, server: Server, registry: Registry, realm: str) -> None:
        server.handler = lambda *_: Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        with pytest.raises(RegistryError, match="leads to"):
            registry.tags("air/web")

    def test_a_busy_token_service_is_asked_again(self, server: Server, registry: Registry) -> None:
        def busy(here: Server, path: str, query: dict[str, list[str]], authorization: str) -> Answer:
            asked = sum(known.startswith("/token") for known, _ in here.asked)
            return Answer(503) if path == "/token" and asked < 3 else with_token(here, path, query, authorization)

        server.handler = busy
        assert registry.tags("air/web") == ["air/web"]


class TestBusy:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_it_is_asked_again(self, server: Server, registry: Registry, status: int) -> None:
        server.handler = lambda here, *_: Answer(200 if len(here.asked) == 3 else status, {"tags": ["0.1.0"]})
        assert registry.tags("air/web") == ["0.1.0"]
        assert len(server.asked) == 3

    def test_but_not_for_ever(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(503)
        with pytest.raises(RegistryError, match=r"the registry answered GET /v2/ with 503 Service Unavailable"):
            registry.check()
        assert len(server.asked) == 4

    @pytest.mark.parametrize("after", ["1", "date"])
    def test_it_is_left_alone_for_as_long_as_it_asks(self, server: Server, registry: Registry, after: str) -> None:
        ready: list[float] = []

        def busy(*_: object) -> Answer:
            now = time.time()
            ready[:] = ready or [now + 3]
            value = "1" if after == "1" else formatdate(ready[0] + 1, usegmt=True)
            return Answer(document={"tags": []}) if now >= ready[0] else Answer(429, headers={"Retry-After": value})

        server.handler = busy
        assert registry.tags("air/web") == []

    def test_one_that_asks_for_more_than_a_minute_is_given_up_at_once(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(429, headers={"Retry-After": "3600"})
        with pytest.raises(RegistryError, match=r"with 429 Too Many Requests, to be asked again in 3600 s$"):
            registry.check()
        assert len(server.asked) == 1

    def test_copies_are_made_again_too(self, server: Server, registry: Registry) -> None:
        content, put = b"layer" * 300_000, []

        def busy(here: Server, path: str, *_: object) -> Answer:
            if sum(known.partition("?")[0] == path for known, _ in here.asked) < 2:
                return Answer(503)
            if path.endswith("/uploads/"):
                return Answer(202, headers={"Location": "one?state=x"})
            put.append(path)
            return Answer(201, content)

        server.handler = busy
        with tempfile.TemporaryFile() as file:
            registry.download("air/web", sha256(content), file)
            assert file.tell() == len(content)
            registry.upload("air/web", sha256(content), file)
        assert put == [f"/v2/air/web/blobs/{sha256(content)}", "/v2/air/web/blobs/uploads/one"]

    def test_what_it_refuses_is_not_asked_again(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(400)
        with pytest.raises(RegistryError, match=r"answered GET /v2/ with 400"):
            registry.check()
        assert len(server.asked) == 1

    def test_silence_ends_in_time(self, server: Server, tmp_path: Path) -> None:
        done = threading.Event()

        def wait(*_: object) -> Answer:
            done.wait(20)
            return Answer()

        server.handler = wait
        with Registry(
            server.address, "me", "x", ca=authority.authority_path(tmp_path), timeout_seconds=0.3
        ) as registry:
            try:
                with pytest.raises(RegistryError, match=r"it does not answer within 0.3 s"):
                    registry.check()
            finally:
                done.set()


class TestElsewhere:
    def basic_only(self, server: Server, authorization: str) -> Answer | None:
        return None if authorization == BASIC else Answer(401, headers={"WWW-Authenticate": "Basic realm=x"})

    def test_a_next_page_at_another_host_is_asked_here(self, server: Server, other: Server, registry: Registry) -> None:
        def pages(here: Server, path: str, query: dict[str, list[str]], authorization: str) -> Answer:
            refused = self.basic_only(here, authorization)
            if refused:
                return refused
            if "last" in query:
                return Answer(document={"repositories": ["air/web"]})
            following = {"Link": f'<https://{other.address}/v2/_catalog?last=air/api&n=1>; rel="next"'}
            return Answer(document={"repositories": ["air/api", "else/x"]}, headers=following)

        server.handler = pages
        assert registry.repositories("air/") == ["air/api", "air/web"]
        assert other.asked == []

    def test_a_download_from_another_host_does_not_get_the_password(
        self, server: Server, other: Server, registry: Registry
    ) -> None:
        def answers(here: Server, path: str, _query: dict[str, list[str]], authorization: str) -> Answer:
            refused = self.basic_only(here, authorization)
            if refused:
                return refused
            if "blobs" in path:
                return Answer(307, headers={"Location": f"https://{other.address}/storage/1"})
            return Answer(document=IMAGE.encode(), headers={"Docker-Content-Digest": IMAGE_DIGEST})

        server.handler = answers
        other.handler = lambda *_: Answer(document=CONFIG)
        manifest = registry.image("air/web", "0.1.0")
        assert manifest is not None
        assert (manifest.digest, manifest.size_bytes) == (IMAGE_DIGEST, 42)
        assert registry.config("air/web", manifest) == Config({"a": "1"}, "")
        assert other.asked == [("/storage/1", "")]


UNKNOWN = {"errors": [{"code": "NAME_UNKNOWN"}]}
API_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


class TestAbsurdities:
    @pytest.mark.parametrize("link", ["<https://[::1>; rel=next", "</\x01>; rel=next"])
    def test_a_next_page_that_is_no_address_is_told(self, server: Server, registry: Registry, link: str) -> None:
        server.handler = lambda *_: Answer(document={"tags": ["1"]}, headers={"Link": link})
        with pytest.raises(RegistryError, match=f"^{server.address}: the registry leads to what is no address"):
            registry.tags("air/web")

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(document=b"[" * 100_000),
            Answer(302, headers={"Location": "/v2/air/web/tags/list"}),
            Answer(document=b"x", headers={"Content-Encoding": "gzip"}),
        ],
    )
    def test_what_is_no_registry_is_not_told_to_be_started(
        self, server: Server, registry: Registry, answer: Answer
    ) -> None:
        server.handler = lambda *_: answer
        with pytest.raises(RegistryError, match=f"^{server.address}: what answers there is not a registry"):
            registry.tags("air/web")


class TestNotThere:
    @pytest.mark.parametrize("answer", [Answer(404, UNKNOWN), Answer(404, b"", API_VERSION)])
    def test_is_the_word_of_a_registry(self, server: Server, registry: Registry, answer: Answer) -> None:
        server.handler = lambda *_: answer
        assert registry.tags("air/web") == []
        assert registry.digest("air/web", "0.1.0") == ""
        assert registry.manifest("air/web", "0.1.0") is None
        registry.delete("air/web", "sha256:m")

    @pytest.mark.parametrize("body", [b"", b"<html>no such page</html>", {"error": "not found"}])
    def test_is_not_what_stands_before_it_says(self, server: Server, registry: Registry, body: object) -> None:
        server.handler = lambda *_: Answer(404, body)
        for look in (
            lambda: registry.tags("air/web"),
            lambda: registry.digest("air/web", "0.1.0"),
            lambda: registry.manifest("air/web", "0.1.0"),
            lambda: registry.delete("air/web", "sha256:m"),
        ):
            with pytest.raises(RegistryError, match="answered with 404, and not by a registry"):
                look()

    @pytest.mark.parametrize("document", [{}, {"tags": {}}, {"tags": [1]}, {"errors": []}])
    def test_is_not_a_listing_that_is_none(self, server: Server, registry: Registry, document: object) -> None:
        server.handler = lambda *_: Answer(document=document)
        with pytest.raises(RegistryError, match="is not a registry"):
            registry.tags("air/web")

    def test_no_tags_may_be_null(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(document={"name": "air/web", "tags": None})
        assert registry.tags("air/web") == []

    def test_is_not_a_page_that_is_missing(self, server: Server, registry: Registry) -> None:
        following = {"Link": '</v2/air/web/tags/list?last=a>; rel="next"'}
        server.handler = lambda here, *_: (
            Answer(document={"tags": ["0.1.0"]}, headers=following) if len(here.asked) == 1 else Answer(404, UNKNOWN)
        )
        with pytest.raises(RegistryError, match="with 404"):
            registry.tags("air/web")

    def test_is_not_an_image_that_its_index_names(self, server: Server, registry: Registry) -> None:
        index = Answer(document={"manifests": [{"digest": IMAGE_DIGEST}]})
        server.handler = lambda _here, path, *_: index if path.endswith("0.1.0") else Answer(404, UNKNOWN)
        with pytest.raises(RegistryError, match=f"does not have its image {IMAGE_DIGEST}"):
            registry.image("air/web", "0.1.0")

    @pytest.mark.parametrize("told", [{}, {"Docker-Content-Digest": "0.1.0"}, {"Docker-Content-Digest": ""}])
    def test_is_not_a_digest_that_is_not_told(self, server: Server, registry: Registry, told: dict[str, Any]) -> None:
        server.handler = lambda *_: Answer(document=IMAGE.encode(), headers=told)
        manifest = registry.manifest("air/web", "0.1.0")
        assert manifest is not None
        assert (registry.digest("air/web", "0.1.0"), manifest.digest) == (IMAGE_DIGEST, IMAGE_DIGEST)

    def test_is_not_a_manifest_of_something_else(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(document={"schemaVersion": 1, "fsLayers": []})
        with pytest.raises(RegistryError, match=r"air/web:0\.1\.0 is no image's manifest"):
            registry.image("air/web", "0.1.0")


class TestCatalog:
    """A registry of many users lists no repositories."""

    @pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
    def test_may_be_none(self, server: Server, registry: Registry, status: int) -> None:
        server.handler = lambda *_: Answer(status, b"no")
        assert registry.repositories("air/") is None

    @pytest.mark.parametrize("status", [401, 403])
    def test_may_be_none_that_a_token_is_for(self, server: Server, registry: Registry, status: int) -> None:
        challenge = {"WWW-Authenticate": f'Bearer realm="https://{server.address}/token",scope="registry:catalog:*"'}
        server.handler = lambda _here, path, *_: Answer(status) if path == "/token" else Answer(401, headers=challenge)
        assert registry.repositories("air/") is None

    def test_is_none_only_when_it_says_so(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(400)
        with pytest.raises(RegistryError, match=r"GET /v2/_catalog\?n=100 with 400"):
            registry.repositories("air/")

    def test_that_ends_in_a_refusal_is_not_known(self, server: Server, registry: Registry) -> None:
        following = {"Link": '</v2/_catalog?last=a>; rel="next"'}
        server.handler = lambda here, *_: (
            Answer(document={"repositories": ["air/a"]}, headers=following) if len(here.asked) == 1 else Answer(403)
        )
        with pytest.raises(RegistryError, match="does not let user me GET /v2/_catalog"):
            registry.repositories("air/")

    def test_that_leads_in_a_circle_ends(self, server: Server, registry: Registry) -> None:
        following = {"Link": '</v2/air/web/tags/list?last=a>; rel="next"'}
        server.handler = lambda *_: Answer(document={"tags": ["a"]}, headers=following)
        with pytest.raises(RegistryError, match="leads in a circle"):
            registry.tags("air/web")


class TestAnswers:
    def test_an_index_stands_for_its_first_real_platform(self, server: Server, registry: Registry) -> None:
        def answers(_here: Server, path: str, *_: object) -> Answer:
            if path.endswith("0.1.0"):
                return Answer(document=index, headers={"Content-Type": INDEX, "Docker-Content-Digest": sha256(index)})
            assert path.endswith(IMAGE_DIGEST)
            return Answer(document=IMAGE.encode())

        entries = [
            {"digest": sha256(b"attestation"), "platform": {"architecture": "unknown", "os": "unknown"}},
            {"digest": IMAGE_DIGEST, "platform": {"architecture": "amd64", "os": "linux"}},
        ]
        index = json.dumps({"manifests": entries}).encode()
        server.handler = answers
        manifest = registry.image("air/web", "0.1.0")
        assert manifest is not None
        assert (manifest.digest, manifest.blobs[0].digest) == (sha256(index), sha256(CONFIG))

    @pytest.mark.parametrize("entries", [[], None])
    def test_an_index_without_images_is_told(self, server: Server, registry: Registry, entries: object) -> None:
        server.handler = lambda *_: Answer(document={"manifests": entries}, headers={"Content-Type": INDEX})
        with pytest.raises(RegistryError, match=r"air/web:0\.1\.0 is an index that names no image"):
            registry.image("air/web", "0.1.0")

    def test_bytes_that_contradict_their_digest_are_refused(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(document=IMAGE.encode(), headers={"Docker-Content-Digest": sha256(b"other")})
        with pytest.raises(RegistryError, match=r"air/web:0\.1\.0 has other bytes than its digest says"):
            registry.manifest("air/web", "0.1.0")
        server.handler = lambda *_: Answer(document=IMAGE.encode())
        with pytest.raises(RegistryError, match=f"air/web@{sha256(b'other')} has other bytes"):
            registry.manifest("air/web", sha256(b"other"))
        image = registry.image("air/web", "0.1.0")
        assert image is not None
        with pytest.raises(RegistryError, match=f"air/web@{sha256(CONFIG)} has other bytes"):
            registry.config("air/web", image)
        with tempfile.TemporaryFile() as file, pytest.raises(RegistryError, match="has other bytes"):
            registry.download("air/web", sha256(CONFIG), file)

    def test_a_mount_that_is_not_allowed_is_none(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(403)
        assert not registry.mount_blob("air/web", sha256(CONFIG), "other/web")

    def test_what_the_user_has_no_right_to_is_not_the_password_s_fault(
        self, server: Server, registry: Registry
    ) -> None:
        server.handler = lambda *_: Answer(403)
        with pytest.raises(RegistryError, match=r"does not let user me GET /v2/air/web/tags/list\?n=100: give it"):
            registry.tags("air/web")

    @pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b""])
    def test_what_is_not_a_registry_is_told(self, server: Server, registry: Registry, body: bytes) -> None:
        server.handler = lambda *_: Answer(document=body)
        with pytest.raises(RegistryError, match=r"what answers there is not a registry: check registry.address"):
            registry.tags("air/web")

    def test_forbidden_deletes_name_the_setting(self, server: Server, registry: Registry) -> None:
        server.handler = lambda *_: Answer(405)
        with pytest.raises(RegistryError, match="set REGISTRY_STORAGE_DELETE_ENABLED=true there"):
            registry.delete("air/web", "sha256:m")


def test_a_registry_may_have_an_ipv6_address(tmp_path: Path) -> None:
    server = Server(tmp_path, "::1")
    server.handler = with_token
    try:
        with Registry(server.address, "me", "hunter2", ca=authority.authority_path(tmp_path)) as registry:
            assert registry.tags("air/web") == ["air/web"]
    finally:
        server.stop()


class TestTrust:
    """The engine's, in a registry that several on this host use: it is nobody's where the system's CAs do."""

    def test_the_cluster_s_ca_is_for_what_the_system_does_not_know(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = {"registry": {"address": server.address}, "discovery": {"enabled": False}, "clusters": {"here": {}}}
        settings, folder = load(document, root=tmp_path / "checkout"), tmp_path / "certs.d"
        authority.ensure_ca(settings.secrets_path)
        others = folder / server.address / "ca.crt"
        others.parent.mkdir(parents=True)
        others.write_bytes(b"another's")
        with pytest.raises(Refused, match="a CA that this checkout did not put there"):
            trust_registry(settings, silent, folder)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.authority_path(tmp_path)))
        assert not trust_registry(settings, silent, folder)
        assert others.read_bytes() == b"another's"
