"""`manage.py seed`: a small catalogue with stock, a credit customer and the demo login."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from inventory import selectors as stock
from inventory import services as inventory
from orders import services as orders
from payments import credit

DEMO_LOGIN = ("demo", "demo")

#: SKU, name, price in minor units, stock.
CATALOGUE = (
    ("MUG-BLUE", "Blue enamel mug", 1295, 500),
    ("MUG-RED", "Red enamel mug", 1295, 500),
    ("TEAPOT-2L", "Cast-iron teapot, 2 litres", 6450, 120),
    ("TRAY-OAK", "Oak serving tray", 3900, 200),
    ("BOWL-SET", "Set of four soup bowls", 4480, 150),
    ("LANTERN-S", "Small white metal lantern", 1850, 300),
    ("LANTERN-L", "Large white metal lantern", 3275, 180),
    ("QUILT-RED", "Red patchwork quilt", 11900, 40),
    ("CLOCK-WALL", "Station wall clock", 8900, 25),
    ("CANDLE-12", "Box of twelve beeswax candles", 1640, 1000),
    ("VASE-TALL", "Tall stoneware vase", 5200, 3),
    ("CHAIR-LAST", "The last rocking chair", 24900, 1),
    ("BELL-GONE", "Brass doorbell", 2700, 0),
)


class Command(BaseCommand):
    """Loads the demo data; existing rows are not changed."""

    help = "Load the demo catalogue, a credit customer and the demo login; running it again changes nothing."

    def handle(self, *_: Any, **__: Any) -> None:
        orders.add_products([(sku, name, price) for sku, name, price, _ in CATALOGUE], currency=settings.CURRENCY)
        known = stock.known(sku for sku, *_ in CATALOGUE)
        inventory.receive({sku: pieces for sku, _, _, pieces in CATALOGUE if sku not in known})
        credit.open_credit(customer_email="credit@example.com", limit_minor=100_000, currency=settings.CURRENCY)
        name, password = DEMO_LOGIN
        if not User.objects.filter(username=name).exists():
            User.objects.create_superuser(name, "demo@example.com", password)
        self.stdout.write(f"Demo data is there: {len(CATALOGUE)} products, login {name} / {password}.")
