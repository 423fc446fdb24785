"""Skeletons: complete diffusers folders of catalogue models, with random weights of any size."""
