"""What the templates of this folder need."""
