"""The tile list and its shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.runs.tiles import Tile, read_tiles, write_tiles

NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=20)
TILES = st.lists(st.builds(Tile, NAMES, st.one_of(st.just(""), NAMES)), max_size=30)


@given(tiles=TILES, size=st.integers(min_value=1, max_value=40))
def test_shards_are_the_list_cut_up(tmp_path_factory: pytest.TempPathFactory, tiles: list[Tile], size: int) -> None:
    path = tmp_path_factory.mktemp("tiles") / "tiles.csv"
    shards = write_tiles(path, tiles, size)
    assert list(read_tiles(path)) == tiles
    assert [tile for shard in shards for tile in read_tiles(path, shard)] == tiles
    assert [shard.first for shard in shards] == list(range(0, len(tiles), size))
    assert all(shard.count == size for shard in shards[:-1])


def test_a_tile_is_called_by_its_image_or_else_its_mask() -> None:
    assert Tile("a/b.jpg", "m.png").name == "a/b.jpg"
    assert Tile("", "m.png").name == "m.png"
