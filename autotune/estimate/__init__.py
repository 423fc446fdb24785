"""What can be known before a trial runs."""
