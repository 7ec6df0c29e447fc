"""Which images are built, in which order."""

from __future__ import annotations

import pytest
from raised import raises

from argosy.builds.plan import build_order, installer_image, select_images
from argosy.config.loading import ImageSettings
from argosy.errors import ConfigError

IMAGES = {
    "frontend": ImageSettings(context="f", needs={"BASE": "python"}),
    "etcd": ImageSettings(context="e"),
    "app": ImageSettings(context="a", needs={"ONE": "frontend", "TWO": "etcd"}),
    "python": ImageSettings(context="p"),
}


def test_an_image_comes_after_those_it_needs_else_as_given() -> None:
    assert build_order(IMAGES) == ["etcd", "python", "frontend", "app"]


def test_all_are_chosen_when_none_is_named() -> None:
    assert select_images(IMAGES, [], have=[]) == build_order(IMAGES)


def test_only_the_named_ones_when_what_they_need_is_there() -> None:
    assert select_images(IMAGES, ["app", "etcd"], have=["frontend"]) == ["etcd", "app"]


def test_what_they_need_comes_along_when_it_was_never_built() -> None:
    assert select_images(IMAGES, ["app"], have=["etcd"]) == ["python", "frontend", "app"]


def test_what_is_built_on_demand_has_to_be_named_or_needed() -> None:
    demanded = {name: image.model_copy(update={"on_demand": True}) for name, image in IMAGES.items()}
    assert select_images({**IMAGES, "etcd": demanded["etcd"], "app": demanded["app"]}, [], have=[]) == [
        "python",
        "frontend",
    ]
    assert select_images({**IMAGES, "python": demanded["python"]}, [], have=["python"]) == build_order(IMAGES)
    assert select_images(demanded, ["frontend"], have=[]) == ["python", "frontend"]


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with raises(ConfigError, "'frontend'", path="only"):
        select_images(IMAGES, ["fronted"], have=[])


def test_a_circle_is_an_error_that_shows_it() -> None:
    images = {
        "a": ImageSettings(context="a", needs={"X": "b"}),
        "b": ImageSettings(context="b", needs={"X": "a"}),
    }
    with pytest.raises(
        ConfigError, match=r"images\.\w\.needs: they need each other in a circle: (a -> b -> a|b -> a -> b)"
    ):
        build_order(images)


class TestInstaller:
    def test_is_never_among_the_images(self) -> None:
        assert build_order({"installer": ImageSettings(context="mine"), "web": ImageSettings(context="w")}) == ["web"]

    def test_is_the_one_that_comes_along_on_python(self) -> None:
        image = installer_image(IMAGES)
        assert (image.context, image.needs) == ("installer", {"PYTHON_IMAGE": "python"})

    def test_may_be_the_project_s_own(self) -> None:
        own = ImageSettings(context="mine")
        assert installer_image({"installer": own}) is own
