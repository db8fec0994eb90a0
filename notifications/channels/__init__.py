"""The channels of notifications, behind one protocol."""
