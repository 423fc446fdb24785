"""Mechanisms: what several levers stand on, or what would bury one. None of these is a lever."""
