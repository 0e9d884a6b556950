"""A small project and its days, as a user could have typed them."""

from __future__ import annotations

from trainer.edits import EditEvent

ROOT = "/home/somebody/shop"
DAY = 86_400.0
BEGAN = 1_700_000_000.0

_CART = '''"""A cart."""

from shop.prices import price_of


class Cart:
    """What somebody wants to buy."""

    def __init__(self) -> None:
        self.items: list[str] = []

    def total(self) -> float:
        """The sum of all prices."""
        return sum(price_of(item) for item in self.items)
'''
_PRICES = '''"""Prices."""

PRICES = {"apple": 1.0, "pear": 1.5}


def price_of(item: str) -> float:
    """The price of one item."""
    return PRICES[item]
'''


def edit(path: str, before: str, after: str, day: float = 0.0, row: int = 0) -> EditEvent:
    """One save below ROOT."""
    return EditEvent(f"{ROOT}/{path}", ROOT, "python", before, after, BEGAN + day * DAY, id=row)


def days() -> list[EditEvent]:
    """Eight days: two new files, then methods, a changed line, a rename, a constant."""
    method = '''
    def add(self, item: str, count: int = 1) -> None:
        """Put an item into the cart."""
        for _ in range(count):
            self.items.append(item)
'''
    removal = '''
    def remove(self, item: str) -> None:
        """Take an item out of the cart."""
        self.items.remove(item)
'''
    discount = '''

def discounted(item: str, share: float) -> float:
    """The price of one item with a discount."""
    if not 0 <= share <= 1:
        raise ValueError(f"a discount of {share} is none")
    return price_of(item) * (1 - share)
'''
    with_add = _CART + method
    with_removal = with_add + removal
    with_default = _PRICES.replace("return PRICES[item]", "return PRICES.get(item, DEFAULT_PRICE)")
    with_constant = with_default.replace("\n\ndef price_of", "DEFAULT_PRICE = 2.0\n\n\ndef price_of", 1)
    with_discount = with_constant + discount
    return [
        edit("shop/prices.py", "", _PRICES, 0, 1),
        edit("shop/cart.py", "", _CART, 1, 2),
        edit("shop/cart.py", _CART, with_add, 2, 3),
        edit("shop/prices.py", _PRICES, with_default, 3, 4),
        edit("shop/prices.py", with_default, with_constant, 4, 5),
        edit("shop/cart.py", with_add, with_removal, 5, 6),
        edit("shop/prices.py", with_constant, with_discount, 6, 7),
        edit("shop/cart.py", with_removal, with_removal.replace("item: str, count", "item: str, how_many"), 7, 8),
    ]
