"""The payment providers, behind one protocol."""
