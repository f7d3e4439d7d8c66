"""Networks, their layers and pretrained weights, and how they are trained."""
