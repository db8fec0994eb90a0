"""What admin pages of every app share."""
