"""Many machines: the book of recipes, and what is looked up in it."""
