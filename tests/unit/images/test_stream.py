"""What the engine's streams say, whatever image store it has."""

from __future__ import annotations

import pytest

from argosy.images.stream import LayersProgress, failure


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"status": "Pushed", "id": "a", "progressDetail": {}}, ""),
        ({"stream": "Step 1/2 : FROM x"}, ""),
        ({"status": "0.1.0: digest: sha256:1f size: 529"}, ""),
        ({"error": "denied\n now", "errorDetail": {"message": "denied"}}, "denied"),
        ({"errorDetail": {"message": "no basic\nauth credentials"}}, "no basic auth credentials"),
        ({"error": "denied"}, "denied"),
        ({"errorDetail": {"code": 1}}, "the engine does not say why"),
        ({"error": ""}, "the engine does not say why"),
    ],
)
def test_a_failure_is_told_with_and_without_the_old_field(event: dict[str, object], reason: str) -> None:
    assert failure(event) == reason


class TestProgress:
    def test_layers_are_added_up(self) -> None:
        progress = LayersProgress()
        assert progress.note({"status": "Pushing", "id": "a", "progressDetail": {"current": 10, "total": 100}})
        assert progress.note({"status": "Pushing", "id": "b", "progressDetail": {"current": 1, "total": 7}})
        assert progress.note({"status": "Pushing", "id": "a", "progressDetail": {"current": 60, "total": 100}})
        assert (progress.done, progress.total) == (61, 107)

    @pytest.mark.parametrize(
        "event",
        [
            {"status": "Preparing", "id": "a"},
            {"status": "Waiting", "id": "a", "progressDetail": None},
            {"status": "Layer already exists", "id": "a", "progressDetail": {}},
            {"status": "Pushing", "id": "a", "progressDetail": {"current": 512}},
            {"status": "Extracting", "id": "a", "progressDetail": {"current": 3, "units": "s"}},
            {"aux": {"Tag": "0.1.0", "Digest": "sha256:1f", "Size": 529}, "progressDetail": {}},
        ],
    )
    def test_a_layer_of_unknown_size_is_left_out(self, event: dict[str, object]) -> None:
        progress = LayersProgress()
        assert not progress.note(event)
        assert (progress.done, progress.total) == (0, 0)

    def test_nothing_done_yet_is_not_said(self) -> None:
        """The containerd image store leaves a `current` of 0 out."""
        progress = LayersProgress()
        assert progress.note({"status": "Pushing", "id": "a", "progressDetail": {"total": 100}})
        assert (progress.done, progress.total) == (0, 100)

    def test_no_layer_is_more_than_done(self) -> None:
        progress = LayersProgress()
        progress.note({"id": "a", "progressDetail": {"current": 130, "total": 100}})
        assert (progress.done, progress.total) == (100, 100)
