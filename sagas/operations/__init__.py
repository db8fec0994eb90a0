"""Actions of people on runs, deliveries and followers, and the work that waits for a person."""
