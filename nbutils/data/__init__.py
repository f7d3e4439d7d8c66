"""Data: images, their labels and boxes, splits, audit, corruptions, and a drawn stand-in."""
