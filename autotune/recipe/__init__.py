"""Recipes: the reusable result of a study."""
