"""Settings and the data folder: what is wrong is named with its remedy, and secrets are never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.embedded import prepare_home
from parley.errors import SetupError
from parley.settings import MAX_SOCKET_PATH_BYTES, Settings


def settings(tmp_path: Path, **values: str) -> Settings:
    return Settings(_env_file=None, parley_home=tmp_path / "var", **values)  # type: ignore[call-arg, arg-type]


def test_a_full_disk_is_named_with_what_is_needed(tmp_path: Path) -> None:
    here = settings(tmp_path)

    with pytest.raises(SetupError, match=r"PARLEY_HOME=.*only \d+ MB are free.*Free some space"):
        prepare_home(here, min_free_bytes=10**18)


def test_a_runtime_folder_that_others_can_open_is_refused(tmp_path: Path) -> None:
    here = settings(tmp_path)
    here.runtime_dir.mkdir(mode=0o755)

    try:
        with pytest.raises(SetupError, match="private folder"):
            prepare_home(here)
    finally:
        here.runtime_dir.rmdir()


def test_the_sockets_path_is_short_however_deep_the_data_lies(tmp_path: Path) -> None:
    deep = settings(tmp_path / ("x" * 200))

    assert len(str(deep.embedded_socket)) <= MAX_SOCKET_PATH_BYTES


def test_two_data_folders_have_two_sockets(tmp_path: Path) -> None:
    assert settings(tmp_path / "a").embedded_socket != settings(tmp_path / "b").embedded_socket


def test_secrets_do_not_show(tmp_path: Path) -> None:
    here = settings(tmp_path, slack_bot_token="xoxb-s3cret", slack_app_token="xapp-s3cret", model_api_key="s3cret")

    assert "s3cret" not in repr(here)
    assert "s3cret" not in str(here.model_dump())
