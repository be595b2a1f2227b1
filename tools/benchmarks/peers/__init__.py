"""Implementations by others, given our weights; each is left out where its code is not available."""
