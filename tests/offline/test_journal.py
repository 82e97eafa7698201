"""What a killed process, a dead disk and a resumed run find in a journal."""

from pathlib import Path

import pytest

from assayd.offline.journal import Entry, Journal, JournalDamagedError, read_entries, replacing


def entry(index: int) -> Entry:
    """What became of one row."""
    return Entry(f"digest {index}", {"token": {"status": "ok", "rewards": [index / 3, -0.1]}})


def written(path: Path, *frames: int) -> list[int]:
    """A journal with so many rows a frame; gives its size after each."""
    journal, sizes, rows = Journal(path), [], 0
    for count in frames:
        journal.append([entry(rows + place) for place in range(count)])
        rows += count
        sizes.append(path.stat().st_size)
    journal.close()
    return sizes


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """Over several frames and several openings, floats to the last bit."""
    path = tmp_path / "journal"
    written(path, 3, 2)
    again = Journal(path)
    assert again.rows == 5
    again.append([entry(5)])
    again.close()
    assert list(read_entries(path)) == [entry(index) for index in range(6)]


def test_a_tail_torn_at_any_byte_is_cut_off_and_written_again(tmp_path: Path) -> None:
    """Whole frames stay, half of one goes, and the journal ends as if nothing had happened."""
    path = tmp_path / "journal"
    first, second, third = written(path, 2, 1, 2)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        rows = 5 if end == third else 3 if end >= second else 2 if end >= first else 0
        assert [found.digest for found in read_entries(path)] == [f"digest {index}" for index in range(rows)]
        journal = Journal(path)
        assert journal.rows == rows
        sizes = {0: (2, 1, 2), 2: (1, 2), 3: (2,), 5: ()}[rows]
        for count in sizes:
            journal.append([entry(journal.rows + place) for place in range(count)])
        journal.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [bytes(1), bytes(4096), b"\xff" * 100])
def test_what_a_power_cut_leaves_behind_the_last_frame_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    """Zeros where the file had grown before its bytes came, or noise."""
    path = tmp_path / "journal"
    (size,) = written(path, 4)
    with path.open("ab") as file:
        file.write(tail)
    journal = Journal(path)
    journal.close()
    assert (journal.rows, path.stat().st_size) == (4, size)


def test_a_frame_that_the_disk_has_changed_is_no_tail(tmp_path: Path) -> None:
    """It was written whole, so rows behind it would be lost: nobody goes on from there."""
    path = tmp_path / "journal"
    first, _ = written(path, 2, 2)
    changed = bytearray(path.read_bytes())
    changed[first // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(JournalDamagedError, match="--fresh"):
        Journal(path)
    assert path.read_bytes() == changed


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails half way leaves the former content and no litter."""
    path = tmp_path / "out"
    with replacing(path) as file:
        file.write(b"before")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
