"""The ways a notification can leave, behind one protocol."""
