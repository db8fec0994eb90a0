"""One file a business process: the saga and its thin adapters to the contexts' services."""
