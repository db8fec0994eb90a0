"""What people may do with runs, deliveries and followers, and what waits for them."""
