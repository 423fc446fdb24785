"""The search: what can exist, what to try next, who wins."""
