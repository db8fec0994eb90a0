"""Stock, reservations, and parcels."""
