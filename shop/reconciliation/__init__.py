"""What should be true of orders, money, goods and messages, across the contexts; the engine looks whether it is."""
