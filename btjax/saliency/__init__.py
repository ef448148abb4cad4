"""Saliency maps of classifiers: the methods, scores of the maps, and checks of what they depend on."""
