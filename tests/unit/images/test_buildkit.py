"""BuildKit's command and its output; and which builder refuses what."""

from __future__ import annotations

import pytest
from raised import raises

from argosy.errors import ConfigError
from argosy.images.builders import Builder, choose_builder
from argosy.images.buildkit import BuildKit, BuildRequest, buildx_environment, buildx_words, docker_config
from argosy.images.log import BuildKitLog

STARTED = ["docker", "buildx", "build", "--builder", "default", "--progress", "plain", "--load", "--metadata-file", "m"]
BUILT = """\
#0 building with "default" instance using docker driver

#1 [internal] load remote build context
#1 DONE 0.0s

#4 [stage-1 1/3] FROM docker.io/library/debian:bookworm-slim
#4 DONE 0.1s

#5 [a 2/2] RUN  make   all
#5 0.312 one
#5 ...

#6 [stage-1 2/3] WORKDIR /w
#6 CACHED

#7 [stage-1 3/3] COPY --from=a /x /x
#7 DONE 0.0s

#5 [a 2/2] RUN  make   all
#5 12.34 \x1b[31mtwo\x1b[0m
#5 DONE 12.5s

#8 exporting to image
#8 DONE 0.1s
"""
FAILED = """\
#5 [a 2/2] RUN echo the reason; exit 7
#5 0.549 the reason
#6 [b 2/2] RUN other
#6 0.312 another
#5 ERROR: process "/bin/sh -c echo the reason; exit 7" did not complete successfully: exit code: 7
------
 > [a 2/2] RUN echo the reason; exit 7:
0.549 the reason
------
Dockerfile:2
--------------------
   2 | >>> RUN echo the reason; exit 7
--------------------
ERROR: failed to solve: process "/bin/sh -c echo the reason; exit 7" did not complete successfully: exit code: 7
"""


def log_of(text: str) -> tuple[BuildKitLog, list[str]]:
    steps: list[str] = []
    log = BuildKitLog(steps.append)
    for line in text.splitlines(keepends=True):
        log.add(line)
    return log, steps


class TestCommand:
    def test_takes_the_context_from_its_input_and_is_the_engine_s_own_builder(self) -> None:
        assert buildx_words(BuildRequest(), "m") == [*STARTED, "--file", "Dockerfile", "-"]

    def test_has_all_that_is_asked_for_and_of_secrets_their_files(self) -> None:
        request = BuildRequest("a/b", {"l": "1"}, {"A": "x y"}, {"key": "/proc/1/fd/3"}, "linux/arm64", no_cache=True)
        options = ["--file", "a/b", "--label", "l=1", "--build-arg", "A=x y", "--secret", "id=key,src=/proc/1/fd/3"]
        assert buildx_words(request, "m") == [*STARTED, *options, "--platform", "linux/arm64", "--no-cache", "-"]

    def test_goes_to_our_engine_whatever_the_user_has_chosen_for_docker(self) -> None:
        own = {"PATH": "/bin", "DOCKER_CONTEXT": "other", "BUILDX_BUILDER": "mine"}
        ours = {"PATH": "/bin", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        assert buildx_environment(own) == {**ours, "DOCKER_HOST": "unix:///var/run/docker.sock"}
        assert buildx_environment({**own, "DOCKER_HOST": "tcp://x:1"}) == {**ours, "DOCKER_HOST": "tcp://x:1"}

    def test_keeps_what_steps_make_in_a_registry_whose_refusal_ends_no_build(self) -> None:
        words = buildx_words(BuildRequest(cache="r:5000/air/cache/web:cache"), "m")
        assert words[-5:-1] == [
            *("--cache-from", "type=registry,ref=r:5000/air/cache/web:cache"),
            *("--cache-to", "type=registry,ref=r:5000/air/cache/web:cache,mode=max,ignore-error=true"),
        ]

    def test_has_our_logins_beside_the_user_s(self) -> None:
        own = {
            "auths": {"x": {"auth": "1"}, "r:5000": {}},
            "credsStore": "pass",
            "proxies": {},
            "credHelpers": {"y": "z"},
        }
        assert docker_config(own, "/home/me/.docker", {"r:5000": ("me", "secret")}) == {
            "auths": {"x": {"auth": "1"}, "r:5000": {"auth": "bWU6c2VjcmV0"}},
            "credsStore": "pass",
            "proxies": {},
            "credHelpers": {"y": "z", "r:5000": ""},
            "cliPluginsExtraDirs": ["/home/me/.docker/cli-plugins"],
        }


class TestLog:
    def test_announces_a_step_that_runs_and_not_one_from_the_cache(self) -> None:
        log, steps = log_of(BUILT)
        assert steps == ["step a 2/2: RUN make all", "step stage-1 3/3: COPY --from=a /x /x"]
        assert log.tail() == "one\ntwo"

    def test_a_failure_is_one_line_with_image_step_and_code_and_the_step_s_own_output(self) -> None:
        log, _ = log_of(FAILED)
        assert (
            log.failure_line("web") == "web: step a 2/2 failed (RUN echo the reason; exit 7): it ended with exit code 7"
        )
        assert log.tail().splitlines()[0] == "the reason"
        assert "another" not in log.tail()

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "#3 [1/1] COPY nowhere /\n#3 ERROR: x\nERROR: failed to solve: failed to compute cache key: no file\n",
                "web: step 1/1 failed (COPY nowhere /): failed to compute cache key: no file",
            ),
            (
                "ERROR: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: "
                "failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RUM\n",
                "web: the build failed: dockerfile parse error line 2: unknown instruction: RUM",
            ),
            (
                "#3 [internal] load metadata for x.example/y:1\n#3 ERROR: no such host\n"
                "ERROR: failed to solve: no such host\n",
                "web: the image x.example/y:1 can't be had: no such host; is it here, or can it be pulled?",
            ),
            ("", "web: the build failed: docker buildx does not say why"),
        ],
    )
    def test_a_failure_says_why(self, text: str, line: str) -> None:
        assert log_of(text)[0].failure_line("web") == line

    def test_keeps_the_end_of_long_output(self) -> None:
        log, _ = log_of("#1 [1/1] RUN x\n" + "".join(f"#1 0.1 line {number}\n" for number in range(5000)))
        assert log.tail().splitlines() == [f"line {number}" for number in range(4940, 5000)]


class TestBuilder:
    CLASSIC = choose_builder("classic")

    def test_the_classic_one_refuses_with_file_lines_reason_and_next_step(self) -> None:
        text = "FROM a\nRUN --mount=type=ssh x\nCOPY --link a b\nADD --link a b\nRUN <<E\nE\n"
        with raises(ConfigError, path="images.web.dockerfile") as caught:
            self.CLASSIC.refuse_dockerfile(text, "web/Dockerfile", "images.web.dockerfile")
        assert str(caught.value) == (
            "images.web.dockerfile: web/Dockerfile, line 2: RUN --mount; line 3: COPY --link; line 4: ADD --link; "
            "and 1 more: this needs BuildKit, and the builder is the classic one, as build.builder says: leave it at "
            "auto"
        )

    def test_the_classic_one_takes_what_it_can_build_and_buildkit_takes_all(self) -> None:
        self.CLASSIC.refuse_dockerfile("FROM a\nARG TARGETARCH\n", "Dockerfile", "path", ["TARGETARCH"])
        self.CLASSIC.refuse_setting({}, "images.web.secrets")
        other = Builder("BuildKit", BuildKit())
        other.refuse_dockerfile("RUN --mount=x", "Dockerfile", "path")
        other.refuse_setting({"a": 1}, "images.web.secrets")

    def test_the_classic_one_refuses_settings_that_it_has_not(self) -> None:
        with raises(ConfigError, "needs BuildKit", path="images.web.secrets"):
            self.CLASSIC.refuse_setting({"a": 1}, "images.web.secrets")
