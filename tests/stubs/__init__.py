"""Stand-ins for things a test machine lacks, real enough that the product cannot tell."""
