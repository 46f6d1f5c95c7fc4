"""The order of tests: the longest files first, so that what is left for the end is short."""

import pytest

LONGEST = {
    "test_accounts",
    "test_commands",
    "test_ends",
    "test_manners",
    "test_reader",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file, in the same way in each process."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
