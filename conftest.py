"""The order of tests: the longest files first, so that what is left for the end is short."""

import pytest

LONGEST = {
    "test_failures",
    "test_faults",
    "test_hostile",
    "test_hostile_killed",
    "test_platform",
    "test_privacy",
    "test_reader",
    "test_storms",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file, in the same way in each process."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
