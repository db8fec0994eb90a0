"""What the management commands share: progress bars, and operations at the terminal."""
