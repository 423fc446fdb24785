"""Adds recipes to a book until it is killed: `python -m tests.fleet.writer BOOK FIRST STEP`.

A line with the name of each recipe on standard output says that it is in the book.
"""

from __future__ import annotations

import sys
from itertools import count

from autotune.fleet.book import open_book
from tests.fleet.shelves import recipe


def main() -> None:
    place, first, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    book = open_book(place)
    for number in count(first, step):
        (added,) = book.add([recipe(seconds=number, choices={"dtype": f"c{number}"})])
        print(added.name, flush=True)


if __name__ == "__main__":
    main()
