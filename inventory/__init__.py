"""The stock, who holds it, and the parcels."""
