"""Models: the catalogue, and how a name becomes a pinned folder on this machine."""
