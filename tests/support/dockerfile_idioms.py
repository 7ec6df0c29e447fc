"""Dockerfiles as they are written today: twelve that any builder builds, eight that need BuildKit.

Each makes the file /out, which holds the word "made"; BASE stands for the base image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Idiom:
    """`refused`: what the classic builder says that it has not; empty for one that it builds. `options`: beside the
    context, in the image's section."""

    name: str
    dockerfile: str
    files: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    options: Mapping[str, object] = field(default_factory=dict)


SHARED = (
    Idiom("stages", "FROM BASE AS make\nRUN echo made > /x\nFROM BASE\nCOPY --from=make /x /out\n"),
    Idiom("scratch", "FROM BASE AS make\nRUN echo made > /x\nFROM scratch\nCOPY --from=make /x /out\n"),
    Idiom("argument-in-from", "ARG KIND=BASE\nFROM ${KIND}\nARG WORD=made\nRUN echo ${WORD:-no} > /out\n"),
    Idiom("given-argument", "FROM BASE\nARG WORD\nRUN echo $WORD > /out\n", options={"args": {"WORD": "made"}}),
    Idiom(
        "continued-lines",
        "FROM BASE\nRUN set -e; \\\n    # said between\n\n    echo made \\\n      > /out && \\\n    true\n",
    ),
    Idiom("escape", "# escape=`\nFROM BASE\nRUN echo made `\n  > /out\n"),
    Idiom(
        "ignored-files",
        "FROM BASE\nCOPY . /all/\nRUN test ! -e /all/no.log && test -e /all/yes.log && cp /all/word /out\n",
        {".dockerignore": "# what is left out\n**/*.log\n!yes.log\n", "no.log": "", "yes.log": "", "word": "made\n"},
    ),
    Idiom(
        "owner-and-user",
        "FROM BASE\nRUN useradd --uid 1500 --no-log-init app && rm -rf /var/log/* /etc/*-\nWORKDIR /srv/app\n"
        "COPY --chown=app:app word /out\nUSER app\n",
        {"word": "made\n"},
    ),
    Idiom(
        "settings",
        'FROM BASE\nENV WORD=made OTHER="two words"\nLABEL org.opencontainers.image.title=x\nEXPOSE 80/tcp 53/udp\n'
        "VOLUME /data\nSTOPSIGNAL SIGINT\nWORKDIR /srv\nRUN echo $WORD > /out\n"
        'HEALTHCHECK --interval=5s --retries=2 CMD ["true"]\nENTRYPOINT ["cat"]\nCMD ["/out"]\n',
    ),
    Idiom(
        "shell", 'FROM BASE\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN [[ a == a ]] && echo made | tee /out\n'
    ),
    Idiom(
        "links-and-modes",
        "FROM BASE\nCOPY tool /usr/local/bin/tool\n"
        "RUN chmod 4750 /usr/local/bin/tool && ln -s tool /usr/local/bin/other && mkdir -m 1777 /open "
        "&& echo made > /made && ln /made /out && rm -r /usr/share/doc\n",
        {"tool": "#!/bin/sh\n"},
    ),
    Idiom(
        "for-later",
        "FROM BASE\nONBUILD RUN echo never\nONBUILD COPY . /app\nRUN echo made > /out\n",
    ),
)
BUILDKIT = (
    Idiom(
        "cache-mount",
        "FROM BASE\nRUN --mount=type=cache,target=/var/cache/x,sharing=locked echo made > /out\n",
        refused="line 2: RUN --mount",
    ),
    Idiom(
        "bind-mount",
        "FROM BASE AS make\nRUN echo made > /x\nFROM BASE\nRUN --mount=type=bind,from=make,source=/x,target=/y \\\n"
        "    --mount=type=bind,source=word,target=/word \\\n    cmp /y /word && cp /y /out\n",
        {"word": "made\n"},
        refused="line 4: RUN --mount",
    ),
    Idiom(
        "secret",
        "FROM BASE\nRUN --mount=type=secret,id=word,required=true echo $(tr A-Z a-z < /run/secrets/word) > /out\n",
        {"secret-word": "MADE\n"},
        refused="needs BuildKit",
        options={"secrets": {"word": {"command": ["cat", "secret/secret-word"]}}},
    ),
    Idiom(
        "script",
        "FROM BASE\nRUN <<'EOF' bash -e\nFROM=made\necho $FROM > /out\nEOF\n",
        refused="line 2: RUN with a heredoc",
    ),
    Idiom(
        "files-in-place",
        "FROM BASE\nCOPY <<one <<-'two' /etc/made/\nmade\none\n\t$kept\n\ttwo\nRUN cp /etc/made/one /out\n",
        refused="line 2: COPY with a heredoc",
    ),
    Idiom("linked-copy", "FROM BASE\nCOPY --link word /out\n", {"word": "made\n"}, refused="line 2: COPY --link"),
    Idiom(
        "mode-of-a-copy",
        "FROM BASE\nCOPY --chmod=0700 word /run-me\nRUN test -x /run-me && cp /run-me /out\n",
        {"word": "made\n"},
        refused="line 2: COPY --chmod",
    ),
    Idiom(
        "platforms",
        "FROM --platform=$BUILDPLATFORM BASE AS make\nARG TARGETARCH\nRUN test -n \"$TARGETARCH\" && echo made > /x\n"
        "FROM BASE\nCOPY --from=make /x /out\n",
        refused="line 1: FROM --platform=$BUILDPLATFORM; line 2: ARG TARGETARCH",
    ),
)  # fmt: skip
