"""Every movement of money, and customers' credit limits."""
